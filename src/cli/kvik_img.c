/* kvik-img: `kvik image` under qemu-img's calling convention. */
#include "cli/image.h"
#include "util/log.h"

int main(int count, char **arguments)
{
	log_open();
	return image_main(count - 1, arguments + 1, false);
}
