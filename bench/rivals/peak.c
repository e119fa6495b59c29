// What this machine can do: the rate of float32 fused multiply-adds on THREADS threads, in GFLOP/s.
//
//   cc -std=gnu11 -O3 -march=native -ffp-contract=fast -pthread peak.c -o peak && ./peak [THREADS]
//
// Each thread keeps 12 independent vector accumulators in registers, enough to hide the latency of two
// multiply-add units, and touches no memory. The result is the median of three runs of 50 ms or more;
// a run lasts as long as its slowest thread, so that a busy core shows.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

enum { ACCUMULATORS = 12, RUNS = 3, MAX_THREADS = 256 };
static const long STEPS = 50 * 1000 * 1000;
static volatile float SCALE = 0.999f, OFFSET = 0.001f; // volatile: the loop must not be computed ahead

static atomic_int ready; // threads that have come to the start line

struct job {
    int threads;
    double seconds;
    float result;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *work(void *argument) {
    struct job *job = argument;
    vec scale = SCALE - (vec){0}, offset = OFFSET - (vec){0}, acc[ACCUMULATORS];
    for (int i = 0; i < ACCUMULATORS; i++) acc[i] = offset * (float)i;
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < job->threads) {}
    double begin = now();
    for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < ACCUMULATORS; i++) acc[i] = acc[i] * scale + offset;
    }
    job->seconds = now() - begin;
    for (int i = 1; i < ACCUMULATORS; i++) acc[0] += acc[i];
    job->result = acc[0][0]; // keeps the loop alive
    return NULL;
}

static double rate(int threads) {
    pthread_t ids[MAX_THREADS];
    struct job jobs[MAX_THREADS];
    double slowest = 0;
    atomic_store(&ready, 0);
    for (int i = 0; i < threads; i++) {
        jobs[i].threads = threads;
        pthread_create(&ids[i], NULL, work, &jobs[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        if (jobs[i].seconds > slowest) slowest = jobs[i].seconds;
    }
    return 2.0 * LANES * ACCUMULATORS * STEPS * threads / slowest * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **words) {
    int threads = count > 1 ? atoi(words[1]) : 2;
    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "peak: threads must be 1 to %d\n", MAX_THREADS);
        return 2;
    }
    double rates[RUNS];
    for (int i = 0; i < RUNS; i++) rates[i] = rate(threads);
    qsort(rates, RUNS, sizeof rates[0], ascending);
    printf("%.1f\n", rates[RUNS / 2]);
    return 0;
}
