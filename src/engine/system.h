/* Requests on the system descriptor: what open("/dev/kvm") gives (api.rst, "system ioctl"). */
#ifndef KVIK_ENGINE_SYSTEM_H
#define KVIK_ENGINE_SYSTEM_H

int system_ioctl(unsigned long request, void *argument);

#endif
