/* COPY and INSERT into the view atp.ingest: the rows of a statement become batches. */
#ifndef ATP_INGEST_VIEW_H
#define ATP_INGEST_VIEW_H

extern void atp_ingest_view_init(void);

#endif
