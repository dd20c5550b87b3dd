/* The doctor's eyes in C: what SQL cannot see. */
#ifndef ATP_DOCTOR_H
#define ATP_DOCTOR_H

/* Remembers at load whether the library is being preloaded. */
extern void atp_doctor_init(void);

#endif
