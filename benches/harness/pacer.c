/* Sends frames at a pace into a memif port, and times those that come back by
 * a second one. One thread, so one clock: the stamp in a frame and the time it
 * is back are read by the same core.
 *
 *   pacer EAL-ARGUMENTS -- FRAMES.pcap [BESIDE.pcap|- [BACK.pcap]]
 *
 * Port 0 leads to the gateway; port 1, if there is one, comes back from it. The
 * frames of BACK go the other way at the same time, at the same rate.
 * Reads commands, a line each; answers with lines of JSON:
 *
 *   run RATE SECONDS EVERY BESIDE GENTLE [THEN_RATE THEN_SECONDS]
 *
 * RATE frames a second (0: all that go) for SECONDS, then THEN_RATE for THEN_SECONDS;
 * a line after every EVERY seconds and "done" at the end; BESIDE frames a second of the second file in between;
 * GENTLE 1 lets other threads have the core between bursts. The last 16 bytes of a frame get
 * its number and its stamp, so the file's frames must end in payload; where an IPv6 frame
 * is too short for that, all frames get 6 bytes, the stamp alone, and no order is seen.
 *
 * A run ends when all is back, or nothing came for a tenth of a second.
 * "last_loss_us" is when the last frame was lost, seen from the change to THEN_RATE;
 * "silence_us" the longest time between two frames that came back.
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
#define QUIET_MS 100 /* after a run, until nothing is expected any more */
#define AT_ONCE 512 /* frames due that go at full speed after a nap */
#define OFF_US 10 /* a turn of the loop that took longer was not ours */
/* Delays below 2^BITS ticks have a bucket each, longer ones 2^(BITS-1) an octave. */
#define BITS 7
#define SHORT 6 /* bytes of a stamp alone, little-endian */
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

/* Frames of a file on their way through the gateway. */
struct direction {
	uint16_t from, to;
	struct file file;
	uint64_t number, newest; /* of the next frame sent, of the newest back */
	uint64_t gentler; /* number of the first one at THEN_RATE */
};

static struct rte_mempool *pool;
static struct direction directions[2] = { { .from = 0, .to = 1 }, { .from = 1, .to = 0 } };
static unsigned int ways = 1;
static struct file beside_file;
static bool comes_back, short_stamps;

/* What happened since the last line. */
static struct {
	uint64_t sent, refused, beside, received, reordered, untimed, other, longest_gap, silence, waits;
	uint32_t delays[BUCKETS];
} seen;
/* In this run. */
static uint64_t under_way, last_received, changed, last_loss;

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
		short_stamps |= frame->bytes[12] == 0x86 && head[2] < 14 + 40 + sizeof(struct stamp);
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

static double us(uint64_t ticks)
{
	return ticks * 1e6 / rte_get_tsc_hz();
}

static void tell(double seconds)
{
	printf("{\"seconds\": %.6f, \"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"beside\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"untimed\": %" PRIu64 ", \"other\": %" PRIu64
	       ", \"longest_gap_us\": %.1f, \"silence_us\": %.1f, \"last_loss_us\": %.1f, \"mean\": %.3f"
	       ", \"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"most\": %.3f}\n",
	       seconds, seen.sent, seen.refused, seen.beside, seen.received, seen.reordered, seen.untimed, seen.other,
	       us(seen.longest_gap), us(seen.silence), changed && last_loss > changed ? us(last_loss - changed) : 0,
	       us(seen.waits) / RTE_MAX(UINT64_C(1), seen.received - seen.untimed), delay(0.5), delay(0.99), delay(0.999), delay(1));
	fflush(stdout);
	memset(&seen, 0, sizeof(seen));
}

/* The last bytes of a frame. */
static void put_stamp(char *end, uint64_t number, uint64_t ticks)
{
	struct stamp whole = { number, ticks };

	if (short_stamps)
		memcpy(end - SHORT, &ticks, SHORT);
	else
		memcpy(end - sizeof(whole), &whole, sizeof(whole));
}

static struct stamp read_stamp(const char *end, uint64_t now)
{
	struct stamp found = { 0, now >> (8 * SHORT) << (8 * SHORT) };

	if (short_stamps)
		memcpy(&found.ticks, end - SHORT, SHORT);
	else
		memcpy(&found, end - sizeof(found), sizeof(found));
	return found;
}

/* Sends up to `most` frames; how many the port took. They are stamped and numbered from `number` if there is one. */
static unsigned int put(uint16_t port, struct file *file, unsigned int most, const uint64_t *number)
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
		if (number)
			put_stamp(data + frame->length, *number + i, now);
	}
	taken = rte_eth_tx_burst(port, 0, burst, most);
	if (taken < most)
		rte_pktmbuf_free_bulk(burst + taken, most - taken);
	file->next = (file->next + taken) % file->count;
	return taken;
}

/* IP, but not what the gateway says itself: ICMPv6, multicast listeners. */
static bool ours(const uint8_t *data)
{
	uint16_t type = data[12] << 8 | data[13];

	return !(data[0] & 1) && (type == 0x0800 || (type == 0x86dd && data[20] != 58));
}

/* Takes what came back one way; frames stamped before `since` are not timed. */
static void receive(struct direction *way, uint64_t since)
{
	struct rte_mbuf *burst[BURST];
	unsigned int count = rte_eth_rx_burst(way->to, 0, burst, BURST);
	uint64_t now = rte_rdtsc();

	for (unsigned int i = 0; i < count; i++) {
		char *data = rte_pktmbuf_mtod(burst[i], char *);
		struct stamp stamp;

		if (!ours((uint8_t *)data)) {
			seen.other++;
			continue;
		}
		stamp = read_stamp(data + burst[i]->data_len, now);
		seen.received++;
		under_way--;
		seen.silence = RTE_MAX(seen.silence, last_received ? now - last_received : 0);
		last_received = now;
		seen.reordered += stamp.number < way->newest;
		/* Others were lost before this one. */
		if (changed && stamp.number > way->newest + 1 && stamp.number >= way->gentler)
			last_loss = now;
		way->newest = RTE_MAX(way->newest, stamp.number);
		if (stamp.ticks < since) {
			seen.untimed++;
			continue;
		}
		seen.delays[bucket(now - stamp.ticks)]++;
		seen.waits += now - stamp.ticks;
	}
	rte_pktmbuf_free_bulk(burst, count);
}

static void receive_all(uint64_t since)
{
	for (unsigned int i = 0; i < ways; i++)
		receive(&directions[i], since);
}

/* `due` frames each way. */
static void send_all(unsigned int due, bool paced)
{
	for (unsigned int i = 0; i < ways; i++) {
		struct direction *way = &directions[i];
		unsigned int taken = put(way->from, &way->file, due, &way->number);

		way->number += taken;
		seen.sent += taken;
		under_way += taken;
		if (paced && taken < due) {
			seen.refused += due - taken;
			last_loss = rte_rdtsc();
		}
	}
}

/* What the gateway itself says to us: ARP. */
static void drain_source(void)
{
	struct rte_mbuf *burst[BURST];

	rte_pktmbuf_free_bulk(burst, rte_eth_rx_burst(0, 0, burst, BURST));
}

static void run(double rate, double seconds, double every, double beside_rate, bool gentle, double then_rate,
		double then_seconds)
{
	const double hz = rte_get_tsc_hz(), beside_step = beside_rate ? hz / beside_rate : 0;
	const uint64_t start = rte_rdtsc(), off = OFF_US * hz / 1e6, change = start + seconds * hz,
		       end = change + then_seconds * hz;
	const double at_once = gentle ? AT_ONCE : BURST;
	uint64_t before = start, since = start, line = start, now;
	double step = rate ? hz / rate : 0, next = start, soonest = start, beside_next = start;

	under_way = last_received = changed = last_loss = 0;
	while ((now = rte_rdtsc()) < end) {
		unsigned int due = BURST;

		if (then_rate && !changed && now >= change) {
			changed = now;
			next = soonest = now;
			step = hz / then_rate;
			for (unsigned int i = 0; i < ways; i++)
				directions[i].gentler = directions[i].number;
		}
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
		send_all(due, rate);
		if (rate) {
			next += due * step;
			soonest = RTE_MAX(soonest + due * step / 1.5, now - at_once * step);
		}
		if (beside_rate && now > beside_next) {
			seen.beside += put(0, &beside_file, 1, NULL);
			beside_next += beside_step;
		}
		if (ways == 1)
			drain_source();
		if (comes_back)
			receive_all(since);
		if (gentle && next > now) {
			struct timespec nap = { 0, NAP_US * 1000 };

			nanosleep(&nap, NULL);
			before = rte_rdtsc();
		}
	}
	/* What is still under way belongs to this run. (Of an earlier one, more may come than was sent.) */
	now = rte_rdtsc();
	while (comes_back && (int64_t)under_way > 0 && rte_rdtsc() - RTE_MAX(now, last_received) < QUIET_MS * hz / 1000)
		receive_all(since);
	tell((end - line) / hz);
	printf("done\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	double rate, seconds, every, beside, then_rate, then_seconds;
	char line[200];
	int gentle;

	if (used < 0 || argc - used < 2)
		fail("usage: pacer EAL-ARGUMENTS -- FRAMES.pcap [BESIDE.pcap]");
	directions[0].file = read_pcap(argv[used + 1]);
	if (argc - used > 2 && strcmp(argv[used + 2], "-"))
		beside_file = read_pcap(argv[used + 2]);
	if (argc - used > 3) {
		directions[1].file = read_pcap(argv[used + 3]);
		ways = 2;
	}
	prctl(PR_SET_TIMERSLACK, 1000);
	pool = rte_pktmbuf_pool_create("pacer", POOL, 512, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		fail("no memory for buffers");
	comes_back = rte_eth_dev_count_avail() > 1;
	if (ways > 1 && !comes_back)
		fail("two ways need two ports");
	start_port(0);
	if (comes_back)
		start_port(1);
	wait_for_link(0);
	if (comes_back)
		wait_for_link(1);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		then_rate = then_seconds = 0;
		if (sscanf(line, "run %lf %lf %lf %lf %d %lf %lf", &rate, &seconds, &every, &beside, &gentle, &then_rate,
			   &then_seconds) < 5)
			fail("a command is not understood");
		run(rate, seconds, every, beside, gentle, then_rate, then_seconds);
	}
	rte_eal_cleanup();
	return 0;
}
