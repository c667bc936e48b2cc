/* Which runner this is. */
#ifndef RUNNER_VERSION_H
#define RUNNER_VERSION_H

#define RUNNER_VERSION_SIZE 64
#define RUNNER_PROGRAM_FORMAT 1 /* harness.workload.codec.FORMAT_VERSION */

/* "1.0 checksum 0001a2b3": the image's own checksum tells one build from another. */
void runner_version(char version[RUNNER_VERSION_SIZE]);

#endif
