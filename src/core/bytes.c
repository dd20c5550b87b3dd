/* Growth of byte buffers; see bytes.h. */
#include "core/bytes.h"

void
atp_buf_init(AtpBuf *buf, AtpGrow grow, void *context)
{
	buf->data = NULL;
	buf->size = buf->room = 0;
	buf->failed = false;
	buf->grow = grow;
	buf->context = context;
}

bool
atp_buf_reserve(AtpBuf *buf, size_t more)
{
	size_t		room = buf->room < 256 ? 256 : buf->room;
	void	   *memory;

	if (buf->failed || more > SIZE_MAX / 4 || buf->size > SIZE_MAX / 4)
	{
		buf->failed = true;
		buf->room = buf->size;	/* so that every later append comes here */
		return false;
	}
	if (more <= buf->room - buf->size)
		return true;
	while (room - buf->size < more)
		room *= 2;
	memory = buf->grow(buf->context, buf->data, room);
	if (memory == NULL)
	{
		buf->failed = true;
		buf->room = buf->size;
		return false;
	}
	buf->data = memory;
	buf->room = room;
	return true;
}
