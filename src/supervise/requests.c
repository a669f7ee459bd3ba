/*
 * Requests: the table of what their arguments are, and the copies of these for the engine, which is
 * in another process than the program.
 *
 * The engine never sees an address of the program: a request that the table does not have goes to
 * it without argument, and is one that it does not know (api.rst; the engine's vm_ioctl.c and
 * vcpu_ioctl.c, vcpu/x86/requests.c).
 */
#include "supervise/requests.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/engine.h"
#include "supervise/call.h"
#include "supervise/handout.h"
#include "supervise/memory.h"
#include "supervise/run.h"
#include "util/page.h"

enum shape {
	NUMBER, /* no pointer */
	STRUCT, /* of the size and direction that the request's number says */
	IN,     /* a struct that the engine reads, of `size` bytes; the number does not say so */
	LIST,   /* `size` bytes that begin with a 32-bit count, and `entry` bytes for each, up to
	           `limit` */
	/* The rest has a function of its own. */
	RUN,
	REGION,
	DIRTY_LOG,
	CLEAR_LOG,
	MSR_FILTER,
	SIGNAL_MASK,
	IRQFD,
	IOEVENTFD,
	STATISTICS,
	ATTRIBUTE,
};

struct row {
	uint32_t request;
	enum shape shape;
	uint32_t size, entry, limit;
};

#define CPUID_LIST LIST, sizeof(struct kvm_cpuid2), sizeof(struct kvm_cpuid_entry2), 256
#define MSR_LIST   LIST, sizeof(struct kvm_msrs), sizeof(struct kvm_msr_entry), 255
#define INDEX_LIST LIST, sizeof(struct kvm_msr_list), sizeof(uint32_t), 4096
#define ROUTING_LIST                                                                               \
	LIST, sizeof(struct kvm_irq_routing), sizeof(struct kvm_irq_routing_entry), 4096

static const struct row rows[] = {
    /* System and VM */
    {KVM_GET_API_VERSION, NUMBER, 0, 0, 0},
    {KVM_CREATE_VM, NUMBER, 0, 0, 0},
    {KVM_CHECK_EXTENSION, NUMBER, 0, 0, 0},
    {KVM_GET_VCPU_MMAP_SIZE, NUMBER, 0, 0, 0},
    {KVM_GET_MSR_INDEX_LIST, INDEX_LIST},
    {KVM_GET_MSR_FEATURE_INDEX_LIST, INDEX_LIST},
    {KVM_GET_SUPPORTED_CPUID, CPUID_LIST},
    {KVM_GET_EMULATED_CPUID, CPUID_LIST},
    {KVM_X86_GET_MCE_CAP_SUPPORTED, STRUCT, 0, 0, 0},
    {KVM_CREATE_VCPU, NUMBER, 0, 0, 0},
    {KVM_SET_USER_MEMORY_REGION, REGION, 0, 0, 0},
    {KVM_GET_DIRTY_LOG, DIRTY_LOG, 0, 0, 0},
    {KVM_RESET_DIRTY_RINGS, NUMBER, 0, 0, 0},
    {KVM_CLEAR_DIRTY_LOG, CLEAR_LOG, 0, 0, 0},
    {KVM_REGISTER_COALESCED_MMIO, STRUCT, 0, 0, 0},
    {KVM_UNREGISTER_COALESCED_MMIO, STRUCT, 0, 0, 0},
    {KVM_GET_STATS_FD, STATISTICS, 0, 0, 0},
    {KVM_HAS_DEVICE_ATTR, ATTRIBUTE, 0, 0, 0},
    {KVM_GET_DEVICE_ATTR, ATTRIBUTE, 0, 0, 0},
    {KVM_SET_DEVICE_ATTR, ATTRIBUTE, 0, 0, 0},
    {KVM_X86_SET_MSR_FILTER, MSR_FILTER, 0, 0, 0},
    {KVM_SET_TSS_ADDR, NUMBER, 0, 0, 0},
    {KVM_SET_IDENTITY_MAP_ADDR, STRUCT, 0, 0, 0},
    {KVM_SET_BOOT_CPU_ID, NUMBER, 0, 0, 0},
    {KVM_SET_NR_MMU_PAGES, NUMBER, 0, 0, 0},
    {KVM_CREATE_IRQCHIP, NUMBER, 0, 0, 0},
    {KVM_CREATE_PIT, NUMBER, 0, 0, 0},
    {KVM_CREATE_PIT2, STRUCT, 0, 0, 0},
    {KVM_IOEVENTFD, IOEVENTFD, 0, 0, 0},
    {KVM_IRQFD, IRQFD, 0, 0, 0},
    {KVM_ENABLE_CAP, STRUCT, 0, 0, 0},
    {KVM_GET_CLOCK, STRUCT, 0, 0, 0},
    {KVM_SET_CLOCK, STRUCT, 0, 0, 0},
    {KVM_IRQ_LINE, STRUCT, 0, 0, 0},
    {KVM_IRQ_LINE_STATUS, STRUCT, 0, 0, 0},
    {KVM_SIGNAL_MSI, STRUCT, 0, 0, 0},
    {KVM_SET_GSI_ROUTING, ROUTING_LIST},
    {KVM_GET_IRQCHIP, STRUCT, 0, 0, 0},
    {KVM_SET_IRQCHIP, IN, sizeof(struct kvm_irqchip), 0, 0}, /* its number says that it writes */
    {KVM_GET_PIT, STRUCT, 0, 0, 0},
    {KVM_SET_PIT, STRUCT, 0, 0, 0},
    {KVM_GET_PIT2, STRUCT, 0, 0, 0},
    {KVM_SET_PIT2, STRUCT, 0, 0, 0},
    {KVM_REINJECT_CONTROL, IN, sizeof(struct kvm_reinject_control), 0, 0},
    /* vCPU, some of them VM or system as well */
    {KVM_RUN, RUN, 0, 0, 0},
    {KVM_GET_REGS, STRUCT, 0, 0, 0},
    {KVM_SET_REGS, STRUCT, 0, 0, 0},
    {KVM_GET_SREGS, STRUCT, 0, 0, 0},
    {KVM_SET_SREGS, STRUCT, 0, 0, 0},
    {KVM_GET_SREGS2, STRUCT, 0, 0, 0},
    {KVM_SET_SREGS2, STRUCT, 0, 0, 0},
    {KVM_GET_FPU, STRUCT, 0, 0, 0},
    {KVM_SET_FPU, STRUCT, 0, 0, 0},
    {KVM_GET_XSAVE, STRUCT, 0, 0, 0},
    {KVM_GET_XSAVE2, STRUCT, 0, 0, 0},
    {KVM_SET_XSAVE, STRUCT, 0, 0, 0},
    {KVM_GET_XCRS, STRUCT, 0, 0, 0},
    {KVM_SET_XCRS, STRUCT, 0, 0, 0},
    {KVM_GET_LAPIC, STRUCT, 0, 0, 0},
    {KVM_SET_LAPIC, STRUCT, 0, 0, 0},
    {KVM_GET_MP_STATE, STRUCT, 0, 0, 0},
    {KVM_SET_MP_STATE, STRUCT, 0, 0, 0},
    {KVM_GET_VCPU_EVENTS, STRUCT, 0, 0, 0},
    {KVM_SET_VCPU_EVENTS, STRUCT, 0, 0, 0},
    {KVM_GET_DEBUGREGS, STRUCT, 0, 0, 0},
    {KVM_SET_DEBUGREGS, STRUCT, 0, 0, 0},
    {KVM_SET_GUEST_DEBUG, STRUCT, 0, 0, 0},
    {KVM_INTERRUPT, STRUCT, 0, 0, 0},
    {KVM_NMI, NUMBER, 0, 0, 0},
    {KVM_SMI, NUMBER, 0, 0, 0},
    {KVM_TRANSLATE, STRUCT, 0, 0, 0},
    {KVM_GET_MSRS, MSR_LIST},
    {KVM_SET_MSRS, MSR_LIST},
    {KVM_GET_CPUID2, CPUID_LIST},
    {KVM_SET_CPUID2, CPUID_LIST},
    {KVM_SET_SIGNAL_MASK, SIGNAL_MASK, 0, 0, 0},
    {KVM_SET_TSC_KHZ, NUMBER, 0, 0, 0},
    {KVM_GET_TSC_KHZ, NUMBER, 0, 0, 0},
    {KVM_KVMCLOCK_CTRL, NUMBER, 0, 0, 0},
    {KVM_TPR_ACCESS_REPORTING, STRUCT, 0, 0, 0},
    {KVM_SET_VAPIC_ADDR, STRUCT, 0, 0, 0},
    {KVM_X86_SETUP_MCE, STRUCT, 0, 0, 0},
    {KVM_X86_SET_MCE, STRUCT, 0, 0, 0},
};

static const struct row *find_row(uint32_t request)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].request == request)
			return &rows[i];
	return NULL;
}

static int serve_number(const struct call *call, const struct handout *handout)
{
	return engine_ioctl(handout->fd, (uint32_t)call->arguments[1],
	                    (void *)(uintptr_t)call->arguments[2]);
}

/* Copy in what the engine reads, ask it, copy out what it wrote. */
static int serve_struct(const struct call *call, const struct handout *handout, size_t size,
                        bool is_written)
{
	uint32_t request = (uint32_t)call->arguments[1];
	uint8_t data[1 << 13] __attribute__((aligned(16)));
	int result;

	_Static_assert(sizeof(data) >= sizeof(struct kvm_xsave), "too small");
	memset(data, 0, size);
	/* Some write their arguments alone, and may be given memory that cannot be read. */
	if (call_read(call, data, call->arguments[2], size) < 0 &&
	    (!is_written || _IOC_DIR(request) & _IOC_WRITE))
		return -EFAULT;
	result = engine_ioctl(handout->fd, request, data);
	if (result >= 0 && is_written && call_write(call, call->arguments[2], data, size) < 0)
		return -EFAULT;
	return result;
}

static int serve_list(const struct call *call, const struct handout *handout, const struct row *row)
{
	uint64_t user = call->arguments[2];
	bool is_written = _IOC_DIR(row->request) & _IOC_READ;
	uint32_t count;
	uint8_t *data;
	int result;

	if (call_read(call, &count, user, sizeof(count)) < 0)
		return -EFAULT;
	/* The engine refuses longer lists before it looks at what is in them, or fills no more. */
	if (count > row->limit)
		count = is_written && row->request != KVM_GET_MSRS ? row->limit : 0;
	data = calloc(1, row->size + (size_t)row->limit * row->entry);
	if (!data)
		return -ENOMEM;
	if (call_read(call, data, user, row->size) < 0 ||
	    (call_read(call, data + row->size, user + row->size, (size_t)count * row->entry) < 0 &&
	     (!is_written || row->request == KVM_GET_MSRS))) {
		result = -EFAULT;
		goto out;
	}
	result = engine_ioctl(handout->fd, row->request, data);
	if (!is_written)
		goto out;
	/* What there would have been comes back with E2BIG. */
	if (result == -E2BIG && call_write(call, user, data, row->size) < 0)
		result = -EFAULT;
	if (result >= 0) {
		uint32_t filled;

		memcpy(&filled, data, sizeof(filled));
		if (filled > count)
			filled = count;
		if (call_write(call, user, data, row->size + (size_t)filled * row->entry) < 0)
			result = -EFAULT;
	}
out:
	free(data);
	return result;
}

static int serve_dirty_log(const struct call *call, const struct handout *handout)
{
	struct kvm_dirty_log log;
	uint64_t user, size;
	void *bitmap;
	int result;

	if (call_read(call, &log, call->arguments[2], sizeof(log)) < 0)
		return -EFAULT;
	user = (uintptr_t)log.dirty_bitmap;
	size =
	    (memory_slot_size(handout->memory, log.slot) / PAGE_SIZE + 63) / 64 * sizeof(uint64_t);
	bitmap = calloc(1, size ? size : 1);
	if (!bitmap)
		return -ENOMEM;
	/* Linux clears the log even if it cannot be written. */
	log.dirty_bitmap = bitmap;
	result = engine_ioctl(handout->fd, KVM_GET_DIRTY_LOG, &log);
	if (result >= 0 && call_write(call, user, bitmap, size) < 0)
		result = -EFAULT;
	free(bitmap);
	return result;
}

static int serve_clear_log(const struct call *call, const struct handout *handout)
{
	struct kvm_clear_dirty_log log;
	uint64_t user, pages;
	size_t size;
	void *bitmap;
	int result;

	if (call_read(call, &log, call->arguments[2], sizeof(log)) < 0)
		return -EFAULT;
	user = (uintptr_t)log.dirty_bitmap;
	/* More than the slot has the engine refuses before it looks at the bitmap. */
	pages = memory_slot_size(handout->memory, log.slot) / PAGE_SIZE;
	if (pages > log.num_pages)
		pages = log.num_pages;
	size = (pages + 63) / 64 * sizeof(uint64_t);
	bitmap = calloc(1, size ? size : 1);
	if (!bitmap)
		return -ENOMEM;
	/* One that cannot be read is the engine's to refuse, behind what else is wrong. */
	log.dirty_bitmap = call_read(call, bitmap, user, size) < 0 ? NULL : bitmap;
	result = engine_ioctl(handout->fd, KVM_CLEAR_DIRTY_LOG, &log);
	free(bitmap);
	return result;
}

static int serve_msr_filter(const struct call *call, const struct handout *handout)
{
	const uint32_t count_max = 0x600 * 8; /* what the engine takes, and Linux */
	uint8_t *bitmaps[KVM_MSR_FILTER_MAX_RANGES] = {NULL};
	struct kvm_msr_filter filter;
	int result = 0;

	if (call_read(call, &filter, call->arguments[2], sizeof(filter)) < 0)
		return -EFAULT;
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		struct kvm_msr_filter_range *range = &filter.ranges[i];
		uint64_t user = (uintptr_t)range->bitmap;
		size_t size = ((size_t)range->nmsrs + 63) / 64 * 8;

		range->bitmap = NULL;
		if (!range->nmsrs || range->nmsrs > count_max)
			continue;
		bitmaps[i] = malloc(size);
		if (!bitmaps[i]) {
			result = -ENOMEM;
			goto out;
		}
		if (call_read(call, bitmaps[i], user, size) == 0)
			range->bitmap = bitmaps[i];
	}
	result = engine_ioctl(handout->fd, KVM_X86_SET_MSR_FILTER, &filter);
out:
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		free(bitmaps[i]);
	return result;
}

/* Ours to obey: the engine's signals are not the program's. */
static int set_signal_mask(const struct call *call, struct handout *vcpu)
{
	uint64_t user = call->arguments[2];
	struct kvm_signal_mask header;

	if (!user) {
		vcpu->has_signal_mask = false;
		return 0;
	}
	if (call_read(call, &header, user, sizeof(header)) < 0)
		return -EFAULT;
	if (header.len != sizeof(vcpu->signal_mask))
		return -EINVAL;
	if (call_read(call, &vcpu->signal_mask, user + sizeof(header), sizeof(vcpu->signal_mask)) <
	    0)
		return -EFAULT;
	vcpu->has_signal_mask = true;
	return 0;
}

/* A descriptor that the program does not have is the engine's to refuse, behind what else is wrong. */
static int take_or_none(const struct call *call, int fd)
{
	int taken = call_take_descriptor(call, fd);

	return taken < 0 ? -1 : taken;
}

static void close_taken(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int serve_irqfd(const struct call *call, const struct handout *handout)
{
	struct kvm_irqfd irqfd;
	int result, resample = -1, fd;

	if (call_read(call, &irqfd, call->arguments[2], sizeof(irqfd)) < 0)
		return -EFAULT;
	fd = take_or_none(call, (int)irqfd.fd);
	if (irqfd.flags & KVM_IRQFD_FLAG_RESAMPLE)
		resample = take_or_none(call, (int)irqfd.resamplefd);
	irqfd.fd = (uint32_t)fd;
	irqfd.resamplefd = (uint32_t)resample;
	result = engine_ioctl(handout->fd, KVM_IRQFD, &irqfd);
	close_taken(resample);
	close_taken(fd);
	return result;
}

static int serve_ioeventfd(const struct call *call, const struct handout *handout)
{
	struct kvm_ioeventfd request;
	int result;

	if (call_read(call, &request, call->arguments[2], sizeof(request)) < 0)
		return -EFAULT;
	request.fd = take_or_none(call, request.fd);
	result = engine_ioctl(handout->fd, KVM_IOEVENTFD, &request);
	close_taken(request.fd);
	return result;
}

/* All that the engine has are 64-bit numbers. */
static int serve_attribute(const struct call *call, const struct handout *handout)
{
	uint32_t request = (uint32_t)call->arguments[1];
	struct kvm_device_attr attribute;
	uint64_t user, number = 0;
	int result;

	if (call_read(call, &attribute, call->arguments[2], sizeof(attribute)) < 0)
		return -EFAULT;
	user = attribute.addr;
	attribute.addr = (uintptr_t)&number;
	if (request == KVM_SET_DEVICE_ATTR && call_read(call, &number, user, sizeof(number)) < 0)
		attribute.addr = 0; /* the engine's to refuse, behind what else is wrong */
	result = engine_ioctl(handout->fd, request, &attribute);
	if (result >= 0 && request == KVM_GET_DEVICE_ATTR &&
	    call_write(call, user, &number, sizeof(number)) < 0)
		return -EFAULT;
	return result;
}

static int serve(const struct call *call, struct handout *handout, const struct row *row)
{
	switch (row->shape) {
	case NUMBER: return serve_number(call, handout);
	case STRUCT:
		return serve_struct(call, handout, _IOC_SIZE(row->request),
		                    _IOC_DIR(row->request) & _IOC_READ);
	case IN: return serve_struct(call, handout, row->size, false);
	case LIST: return serve_list(call, handout, row);
	case DIRTY_LOG:
		return handout->kind == ENGINE_HANDLE_VM ? serve_dirty_log(call, handout) : -EINVAL;
	case CLEAR_LOG:
		return handout->kind == ENGINE_HANDLE_VM ? serve_clear_log(call, handout) : -EINVAL;
	case MSR_FILTER:
		return handout->kind == ENGINE_HANDLE_VM ? serve_msr_filter(call, handout) : -EINVAL;
	case SIGNAL_MASK:
		return handout->kind == ENGINE_HANDLE_VCPU ? set_signal_mask(call, handout)
		                                           : -EINVAL;
	case ATTRIBUTE: return serve_attribute(call, handout);
	case IRQFD: return serve_irqfd(call, handout);
	case IOEVENTFD: return serve_ioeventfd(call, handout);
	case RUN:
	case STATISTICS:
	case REGION: break;
	}
	return -EINVAL;
}

/* Requests that make a descriptor: it is the program's, and this is its answer. */
static void create(const struct call *call, const struct handout *handout)
{
	bool is_vm = handout->kind == ENGINE_HANDLE_SYSTEM;
	struct memory *memory = is_vm ? memory_create() : memory_get(handout->memory);
	int fd;

	handout_follow_copies(call->supervisor);
	fd = memory ? serve_number(call, handout) : -ENOMEM;
	if (fd < 0) {
		if (memory)
			memory_put(memory);
		call_answer(call, fd);
		return;
	}
	if (!is_vm)
		engine_ignore_signals(fd);
	handout_give(call, fd, is_vm ? ENGINE_HANDLE_VM : ENGINE_HANDLE_VCPU, memory, true);
}

/* A file for the program to read, which the engine need not know of. */
static void give_statistics(const struct call *call, const struct handout *handout)
{
	int fd = engine_ioctl(handout->fd, KVM_GET_STATS_FD, NULL);

	if (fd < 0) {
		call_answer(call, fd);
		return;
	}
	call_answer_descriptor(call, fd, true);
	close(fd);
}

static void set_region(const struct call *call, const struct handout *vm)
{
	struct kvm_userspace_memory_region region;

	if (call_read(call, &region, call->arguments[2], sizeof(region)) < 0)
		call_answer(call, -EFAULT);
	else
		memory_set_region(vm->memory, vm->fd, call, &region);
}

static void serve_and_answer(const struct call *call, struct handout *handout)
{
	uint32_t request = (uint32_t)call->arguments[1];
	const struct row *row = find_row(request);

	if (handout->kind != ENGINE_HANDLE_SYSTEM && !handout_is_owned(handout, call))
		call_answer(call, -EIO);
	else if (!row)
		call_answer(call, engine_ioctl(handout->fd, request, NULL));
	else if ((request == KVM_CREATE_VM && handout->kind == ENGINE_HANDLE_SYSTEM) ||
	         (request == KVM_CREATE_VCPU && handout->kind == ENGINE_HANDLE_VM))
		create(call, handout);
	else if (row->shape == RUN && handout->kind == ENGINE_HANDLE_VCPU)
		run_vcpu(call, handout);
	else if (row->shape == STATISTICS)
		give_statistics(call, handout);
	else if (row->shape == REGION && handout->kind == ENGINE_HANDLE_VM)
		set_region(call, handout);
	else if (row->shape == RUN || row->shape == REGION)
		call_answer(call, engine_ioctl(handout->fd, request, NULL));
	else
		call_answer(call, serve(call, handout, row));
}

bool requests_serve(const struct call *call)
{
	struct handout *handout = handout_get(call, (int)call->arguments[0]);

	if (!handout)
		return false;
	serve_and_answer(call, handout);
	handout_put(handout);
	return true;
}
