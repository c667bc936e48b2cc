/* What Wine reports as done without having done it, and what it does not survive. */
#ifndef RUNNER_PROGRAM_PRETENCE_H
#define RUNNER_PROGRAM_PRETENCE_H

#include "program_decode.h"

/* Why Wine's success of this operation would mean nothing; NULL when it does what it says. The runner ends such an
 * operation with STATUS_NOT_IMPLEMENTED and makes no call. */
const char *pretence_of(const OPERATION *operation);

#endif
