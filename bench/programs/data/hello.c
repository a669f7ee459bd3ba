#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	printf("Hello, %d of %zu\n", NUMBER, strlen("worlds"));
	return EXIT_SUCCESS;
}
