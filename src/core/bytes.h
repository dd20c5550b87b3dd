/*
 * Byte buffers and the big-endian encodings of the hashed record. Plain C11.
 *
 * Memory belongs to the caller: a buffer grows through the function it was made with (realloc in the tools, repalloc_huge
 * in the backend). A grow function that returns NULL marks the buffer `failed`; every later write is then a no-op, so
 * that a writer checks once, at the end. A grow function may also leave by longjmp (ereport); nothing is held here.
 */
#ifndef ATP_BYTES_H
#define ATP_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef void *(*AtpGrow) (void *context, void *memory, size_t size);

typedef struct AtpBuf
{
	uint8_t    *data;			/* NULL until the first write */
	size_t		size;			/* bytes written */
	size_t		room;			/* bytes allocated */
	bool		failed;			/* a grow returned NULL: contents are not usable */
	AtpGrow		grow;
	void	   *context;		/* handed to grow */
} AtpBuf;

/* Makes an empty buffer that grows through `grow`. */
extern void atp_buf_init(AtpBuf *buf, AtpGrow grow, void *context);

/* Makes room for `more` further bytes; false when memory is refused or the size would overflow. */
extern bool atp_buf_reserve(AtpBuf *buf, size_t more);

static inline void
atp_buf_append(AtpBuf *buf, const void *bytes, size_t size)
{
	if (size > buf->room - buf->size && !atp_buf_reserve(buf, size))
		return;
	if (size > 0)
		memcpy(buf->data + buf->size, bytes, size);
	buf->size += size;
}

static inline void
atp_buf_byte(AtpBuf *buf, uint8_t byte)
{
	if (buf->room == buf->size && !atp_buf_reserve(buf, 1))
		return;
	buf->data[buf->size++] = byte;
}

/* Big-endian stores into memory that is large enough; each returns the byte after the last one written. */
static inline uint8_t *
atp_put_u32(uint8_t *at, uint32_t value)
{
	for (int i = 3; i >= 0; i--)
		*at++ = (uint8_t) (value >> (8 * i));
	return at;
}

static inline uint8_t *
atp_put_u64(uint8_t *at, uint64_t value)
{
	for (int i = 7; i >= 0; i--)
		*at++ = (uint8_t) (value >> (8 * i));
	return at;
}

static inline uint8_t *
atp_put_i64(uint8_t *at, int64_t value)
{
	return atp_put_u64(at, (uint64_t) value);
}

#endif
