/* abi/regrun.h with the types that C has for it. */
#ifndef RUNNER_PROTOCOL_H
#define RUNNER_PROTOCOL_H

#define REGRUN_STDINT
#include "regrun.h"

#endif
