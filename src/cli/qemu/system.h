/* kvik-system-x86_64, which takes QEMU's command line; its arguments without its name. The exit status. */
#ifndef KVIK_CLI_QEMU_SYSTEM_H
#define KVIK_CLI_QEMU_SYSTEM_H

int system_main(int count, char **arguments);

#endif
