/* The threads of a program in this process: made on first use, kept, taking turns. */
#ifndef RUNNER_PROGRAM_THREAD_H
#define RUNNER_PROGRAM_THREAD_H

#include <windows.h>

typedef void THREAD_WORK(void *argument);

/* Thread 0 is the one that is here, from now on; otherwise it is made like the others. */
void threads_adopt_caller(void);

/* Have thread `index` do something and wait until it has. FALSE: no such thread can be made, or it ended on the way. */
BOOL thread_do(unsigned index, THREAD_WORK *work, void *argument);

#endif
