#include "device/bus/pci_irqfd.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/bus/pci_parts.h"
#include "util/log.h"

/* Whether it was signalled since it was last asked. */
static bool consume(const struct pci_irqfd *irqfd)
{
	uint64_t count;

	return read(irqfd->fd, &count, sizeof(count)) == sizeof(count);
}

void pci_irqfd_signal(const struct pci_irqfd *irqfd)
{
	uint64_t one = 1;

	/* When it cannot be written it is signalled as much as it can be. */
	if (write(irqfd->fd, &one, sizeof(one)) < 0)
		return;
}

static int connect_to(struct pci_irqfd *irqfd, uint64_t address, uint32_t data)
{
	const struct msi_target *target = &irqfd->function->bus->config.msi;
	int result = 0;

	if (!irqfd->is_routed || address != irqfd->address || data != irqfd->data) {
		result = target->route(target->context, irqfd->gsi, address, data);
		irqfd->is_routed = result >= 0;
		irqfd->address = address;
		irqfd->data = data;
	}
	if (result >= 0 && irqfd->state != PCI_VECTOR_OPEN)
		result = target->connect(target->context, irqfd->gsi, irqfd->fd);
	return result < 0 ? result : 0;
}

static void disconnect(struct pci_irqfd *irqfd)
{
	const struct msi_target *target = &irqfd->function->bus->config.msi;

	target->disconnect(target->context, irqfd->gsi, irqfd->fd);
}

/* Do what the vector's registers say. With the function's lock held. */
static void update(struct pci_irqfd *irqfd)
{
	struct pci_message message;
	enum pci_vector_state state = PCI_VECTOR_OFF;
	int result;

	if (irqfd->gsi < 0)
		return;
	if (irqfd->vector != PCI_NO_VECTOR)
		state = pci_vector_state(irqfd->function, irqfd->vector, &message);
	/* What was signalled while it was off is lost. */
	if (irqfd->state == PCI_VECTOR_OFF && state != PCI_VECTOR_OFF)
		consume(irqfd);
	if (state == PCI_VECTOR_OPEN) {
		result = connect_to(irqfd, message.address, message.data);
		if (result < 0) {
			log_guest("PCI function %02x.%u: cannot send vector %u by eventfd: %s",
				  irqfd->function->slot_function >> 3,
				  irqfd->function->slot_function & 7, irqfd->vector,
				  strerror(-result));
			state = PCI_VECTOR_OFF;
		}
	}
	if (irqfd->state == PCI_VECTOR_OPEN && state != PCI_VECTOR_OPEN)
		disconnect(irqfd);
	irqfd->state = state;
}

void pci_irqfds_update(struct pci_function *function)
{
	struct pci_irqfd *irqfd;

	for (irqfd = function->irqfds; irqfd; irqfd = irqfd->next)
		update(irqfd);
}

void pci_irqfds_collect(struct pci_function *function)
{
	struct pci_irqfd *irqfd;

	for (irqfd = function->irqfds; irqfd; irqfd = irqfd->next)
		if (irqfd->state == PCI_VECTOR_MASKED && consume(irqfd))
			pci_vector_set_pending(function, irqfd->vector);
}

void pci_irqfds_settle(struct pci_function *function)
{
	struct pci_message message;
	struct pci_irqfd *irqfd;

	for (irqfd = function->irqfds; irqfd; irqfd = irqfd->next) {
		if (irqfd->state != PCI_VECTOR_OPEN)
			continue;
		disconnect(irqfd);
		irqfd->state = PCI_VECTOR_MASKED; /* keeps what is signalled from now on */
		if (consume(irqfd) &&
		    pci_vector_state(function, irqfd->vector, &message) == PCI_VECTOR_OPEN)
			pci_message_send(function, &message);
		update(irqfd);
	}
	pci_irqfds_collect(function);
}

void pci_irqfd_set_vector(struct pci_irqfd *irqfd, unsigned vector)
{
	pthread_mutex_lock(&irqfd->function->lock);
	if (irqfd->vector != vector) {
		/* A signal before was meant for the vector that it had. */
		if (irqfd->state == PCI_VECTOR_MASKED && consume(irqfd))
			pci_vector_set_pending(irqfd->function, irqfd->vector);
		irqfd->vector = vector;
		update(irqfd);
	}
	pthread_mutex_unlock(&irqfd->function->lock);
}

int pci_irqfd_init(struct pci_irqfd *irqfd, struct pci_function *function, struct error *error)
{
	const struct msi_target *target = &function->bus->config.msi;
	int result;

	*irqfd = (struct pci_irqfd){.gsi = -1, .vector = PCI_NO_VECTOR};
	irqfd->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irqfd->fd < 0)
		return error_set_errno(error, errno, "cannot create an eventfd");
	if (target->claim) {
		result = target->claim(target->context, error);
		if (result < 0) {
			close(irqfd->fd);
			return result;
		}
		irqfd->gsi = result;
	}
	irqfd->function = function;
	pthread_mutex_lock(&function->lock);
	irqfd->next = function->irqfds;
	function->irqfds = irqfd;
	pthread_mutex_unlock(&function->lock);
	return 0;
}

void pci_irqfd_destroy(struct pci_irqfd *irqfd)
{
	struct pci_function *function = irqfd->function;
	struct pci_irqfd **link;

	if (!function)
		return;
	pthread_mutex_lock(&function->lock);
	irqfd->vector = PCI_NO_VECTOR;
	update(irqfd);
	for (link = &function->irqfds; *link != irqfd; link = &(*link)->next)
		;
	*link = irqfd->next;
	pthread_mutex_unlock(&function->lock);
	if (irqfd->gsi >= 0)
		function->bus->config.msi.release(function->bus->config.msi.context, irqfd->gsi);
	close(irqfd->fd);
	irqfd->function = NULL;
}
