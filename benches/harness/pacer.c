/* Sends frames at a pace into a memif port, and times those that come back by
 * a second one. One thread, so one clock: the stamp in a frame and the time it
 * is back are read by the same core.
 *
 *   pacer EAL-ARGUMENTS -- FRAMES.pcap [BESIDE.pcap]
 *
 * Port 0 leads to the gateway; port 1, if there is one, comes back from it.
 * Reads commands, a line each; answers with lines of JSON:
 *
 *   run RATE SECONDS EVERY BESIDE GENTLE
 *
 * RATE frames a second (0: all that go) for SECONDS, a line after every EVERY
 * seconds and "done" at the end; BESIDE frames a second of the second file in between; GENTLE 1 lets
 * other threads have the core between bursts. The last 16 bytes of a frame get
 * its number and its stamp, so the file's frames must end in payload.
 *
 * A frame that finds the ring full is lost ("refused"), as it would be at a
 * NIC. What was missed while this thread was off the core is sent at one and a
 * half times the pace, not at once. Frames under way while it was off are not
 * timed ("untimed"): the wait would be the harness's own.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 64
#define MOST_FRAMES 300000
#define POOL 16384
#define NAP_US 100
#define AT_ONCE 512 /* frames due that go at full speed after a nap */
#define OFF_US 10 /* a turn of the loop that took longer was not ours */
/* Delays below 2^BITS ticks have a bucket each, longer ones 2^(BITS-1) an octave. */
#define BITS 7
#define BUCKETS (64 << (BITS - 1))

struct frame {
	uint16_t length;
	uint8_t bytes[1514];
};

struct stamp {
	uint64_t number, ticks;
};

struct file {
	struct frame *frames;
	unsigned int count, next;
};

static struct rte_mempool *pool;
static struct file main_file, beside_file;
static bool comes_back;

/* What happened since the last line. */
static struct {
	uint64_t sent, refused, beside, received, reordered, untimed, other, longest_gap;
	uint32_t delays[BUCKETS];
} seen;
static uint64_t number, newest;

static void fail(const char *what)
{
	fprintf(stderr, "pacer: %s\n", what);
	exit(1);
}

static struct file read_pcap(const char *path)
{
	struct file file = { calloc(MOST_FRAMES, sizeof(struct frame)), 0, 0 };
	uint32_t head[6];
	FILE *in = fopen(path, "rb");

	if (!in || !file.frames || fread(head, 24, 1, in) != 1)
		fail("the pcap file cannot be read");
	while (file.count < MOST_FRAMES && fread(head, 16, 1, in) == 1) {
		struct frame *frame = &file.frames[file.count++];

		frame->length = head[2];
		if (head[2] < 60 || head[2] > sizeof(frame->bytes) || fread(frame->bytes, head[2], 1, in) != 1)
			fail("a frame of the pcap file is too short, too long or cut off");
	}
	fclose(in);
	return file;
}

static void start_port(uint16_t port)
{
	struct rte_eth_conf conf = { 0 };

	if (rte_eth_dev_configure(port, 1, 1, &conf) || rte_eth_rx_queue_setup(port, 0, 1024, 0, NULL, pool) ||
	    rte_eth_tx_queue_setup(port, 0, 1024, 0, NULL) || rte_eth_dev_start(port))
		fail("a port does not start");
}

static void wait_for_link(uint16_t port)
{
	struct rte_eth_link link = { 0 };

	for (int tries = 0; tries < 3000; tries++) {
		if (!rte_eth_link_get_nowait(port, &link) && link.link_status)
			return;
		rte_delay_us_sleep(10000);
	}
	fail("nobody connects to a port");
}

static unsigned int bucket(uint64_t ticks)
{
	unsigned int octave = ticks >> BITS ? 64 - BITS - __builtin_clzll(ticks) : 0;

	return (octave << (BITS - 1)) + (ticks >> octave);
}

/* Middle of a bucket, in ticks. */
static double middle(unsigned int index)
{
	unsigned int octave = index >> BITS ? (index >> (BITS - 1)) - 1 : 0;

	return (double)((uint64_t)(index - (octave << (BITS - 1))) << octave) + (double)(1ull << octave) / 2;
}

/* The delay that a share of the timed frames stay below, in microseconds. */
static double delay(double share)
{
	uint64_t timed = seen.received - seen.untimed, below = 0;

	for (unsigned int i = 0; i < BUCKETS; i++) {
		below += seen.delays[i];
		if (below && below >= share * timed)
			return middle(i) * 1e6 / rte_get_tsc_hz();
	}
	return 0;
}

static void tell(double seconds)
{
	printf("{\"seconds\": %.6f, \"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"beside\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"untimed\": %" PRIu64 ", \"other\": %" PRIu64
	       ", \"longest_gap_us\": %.1f, \"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"most\": %.3f}\n",
	       seconds, seen.sent, seen.refused, seen.beside, seen.received, seen.reordered, seen.untimed,
	       seen.other, seen.longest_gap * 1e6 / rte_get_tsc_hz(), delay(0.5), delay(0.99), delay(0.999), delay(1));
	fflush(stdout);
	memset(&seen, 0, sizeof(seen));
}

/* Sends up to `most` frames; how many the port took. */
static unsigned int put(struct file *file, unsigned int most, bool stamped)
{
	struct rte_mbuf *burst[BURST];
	unsigned int taken;
	uint64_t now;

	if (!most || rte_pktmbuf_alloc_bulk(pool, burst, most))
		return 0;
	now = rte_rdtsc();
	for (unsigned int i = 0; i < most; i++) {
		struct frame *frame = &file->frames[(file->next + i) % file->count];
		char *data = rte_pktmbuf_append(burst[i], frame->length);

		memcpy(data, frame->bytes, frame->length);
		if (stamped) {
			struct stamp stamp = { number + i, now };

			memcpy(data + frame->length - sizeof(stamp), &stamp, sizeof(stamp));
		}
	}
	taken = rte_eth_tx_burst(0, 0, burst, most);
	if (taken < most)
		rte_pktmbuf_free_bulk(burst + taken, most - taken);
	file->next = (file->next + taken) % file->count;
	return taken;
}

/* Takes what came back; frames stamped before `since` are not timed. */
static unsigned int receive(uint64_t since)
{
	struct rte_mbuf *burst[BURST];
	unsigned int count = rte_eth_rx_burst(1, 0, burst, BURST);
	uint64_t now = rte_rdtsc();

	for (unsigned int i = 0; i < count; i++) {
		char *data = rte_pktmbuf_mtod(burst[i], char *);
		struct stamp stamp;

		if (data[12] != 8 || data[13] != 0) {
			seen.other++;
			continue;
		}
		memcpy(&stamp, data + burst[i]->data_len - sizeof(stamp), sizeof(stamp));
		seen.received++;
		seen.reordered += stamp.number < newest;
		newest = RTE_MAX(newest, stamp.number);
		if (stamp.ticks < since)
			seen.untimed++;
		else
			seen.delays[bucket(now - stamp.ticks)]++;
	}
	rte_pktmbuf_free_bulk(burst, count);
	return count;
}

/* What the gateway itself says to us: ARP. */
static void drain_source(void)
{
	struct rte_mbuf *burst[BURST];

	rte_pktmbuf_free_bulk(burst, rte_eth_rx_burst(0, 0, burst, BURST));
}

static void run(double rate, double seconds, double every, double beside_rate, bool gentle)
{
	const double hz = rte_get_tsc_hz(), step = rate ? hz / rate : 0, beside_step = beside_rate ? hz / beside_rate : 0;
	const uint64_t start = rte_rdtsc(), off = OFF_US * hz / 1e6, end = start + seconds * hz;
	const double at_once = gentle ? AT_ONCE : BURST;
	uint64_t before = start, since = start, line = start, now;
	double next = start, soonest = start, beside_next = start;

	while ((now = rte_rdtsc()) < end) {
		unsigned int due = BURST, taken;

		if (now - before > off)
			since = now;
		seen.longest_gap = RTE_MAX(seen.longest_gap, now - before);
		before = now;
		if (now - line > every * hz) {
			tell((now - line) / hz);
			line = now;
		}
		if (rate) {
			double late = (now - next) / step, room = (now - soonest) / (step / 1.5);

			due = late > 0 && room > 0 ? RTE_MIN(RTE_MIN(late, room) + 1, (double)BURST) : 0;
		}
		taken = put(&main_file, due, true);
		number += taken;
		seen.sent += taken;
		if (rate) {
			seen.refused += due - taken;
			next += due * step;
			soonest = RTE_MAX(soonest + due * step / 1.5, now - at_once * step);
		}
		if (beside_rate && now > beside_next) {
			seen.beside += put(&beside_file, 1, false);
			beside_next += beside_step;
		}
		drain_source();
		if (comes_back)
			receive(since);
		if (gentle && next > now) {
			struct timespec nap = { 0, NAP_US * 1000 };

			nanosleep(&nap, NULL);
			before = rte_rdtsc();
		}
	}
	/* What is still under way belongs to this run. */
	for (now = rte_rdtsc(); comes_back && rte_rdtsc() - now < hz / 100;)
		receive(since);
	tell((end - line) / hz);
	printf("done\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	double rate, seconds, every, beside;
	char line[200];
	int gentle;

	if (used < 0 || argc - used < 2)
		fail("usage: pacer EAL-ARGUMENTS -- FRAMES.pcap [BESIDE.pcap]");
	main_file = read_pcap(argv[used + 1]);
	if (argc - used > 2)
		beside_file = read_pcap(argv[used + 2]);
	prctl(PR_SET_TIMERSLACK, 1000);
	pool = rte_pktmbuf_pool_create("pacer", POOL, 512, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		fail("no memory for buffers");
	comes_back = rte_eth_dev_count_avail() > 1;
	start_port(0);
	if (comes_back)
		start_port(1);
	wait_for_link(0);
	if (comes_back)
		wait_for_link(1);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "run %lf %lf %lf %lf %d", &rate, &seconds, &every, &beside, &gentle) != 5)
			fail("a command is not understood");
		run(rate, seconds, every, beside, gentle);
	}
	rte_eal_cleanup();
	return 0;
}
