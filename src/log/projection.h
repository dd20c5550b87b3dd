/* Projections of the log; see projection.c. */
#ifndef ATP_PROJECTION_H
#define ATP_PROJECTION_H

extern void atp_projection_init(void);

#endif
