/*
 * Serving one transport: a thread that reads and answers PING, CANCEL and HOLD at once, and a worker that carries
 * out one request after the other.
 */
#ifndef RUNNER_SESSION_H
#define RUNNER_SESSION_H

#include "transport.h"

/* Serve until the transport ends, then finish what is waiting. FALSE when a thread or event can't be had. */
BOOL session_serve(TRANSPORT *transport, HANDLE stop);

#endif
