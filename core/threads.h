/* threads.h: the OpenMP runtime, set up before it starts. */
#ifndef CORE_THREADS_H
#define CORE_THREADS_H

/* Call it first in main. libgomp's threads spin for milliseconds at a barrier by default, which on a busy
 * machine takes the core from the thread they wait for; and a multithreaded BLAS behind LAPACK would put
 * threads inside threads. Both are settled by environment variables that are read when the libraries load,
 * so this sets those that the user has not set and starts the program once more. OMP_SCHEDULE is dynamic:
 * loops whose tasks differ in size ask for it (schedule(runtime)), so that a test can change it. */
void threads_prepare(char **argv);

/* Cores this process may run on. */
int threads_available(void);

#endif
