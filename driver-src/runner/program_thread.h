/*
 * The threads of a program in this process: made on first use, kept. Beside those that programs name there is one for
 * each helper process, which waits for it while the program goes on.
 */
#ifndef RUNNER_PROGRAM_THREAD_H
#define RUNNER_PROGRAM_THREAD_H

#include <windows.h>

typedef void THREAD_WORK(void *argument);

/* Thread 0 is the one that is here, from now on; otherwise it is made like the others. */
void threads_adopt_caller(void);

/* Have thread `index` do something and wait until it has. FALSE: no such thread can be made, or it ended on the way. */
BOOL thread_do(unsigned index, THREAD_WORK *work, void *argument);

/* The same in two steps, for any thread but 0. */
BOOL thread_begin(unsigned index, THREAD_WORK *work, void *argument);
BOOL thread_end(unsigned index);

#endif
