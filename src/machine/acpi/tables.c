#include "machine/acpi/tables.h"

#include <errno.h>
#include <string.h>

#include "device/tpm/tpm.h"
#include "device/acpi_pm.h"
#include "device/acpi_sleep.h"

#define RSDP_REVISION 2
#define FADT_REVISION 6
#define FADT_MINOR    4
#define MADT_REVISION 5
#define DSDT_REVISION 2

#define LAPIC_GPA  0xfee00000
#define IOAPIC_GPA 0xfec00000

#define GAS_SYSTEM_IO 1

/* FADT flags (§5.2.9, table 5.10). */
#define FADT_WBINVD	      (1u << 0)
#define FADT_C1_SUPPORTED     (1u << 2)
#define FADT_BUTTON_BY_METHOD (1u << 4) /* no fixed power button */
#define FADT_NO_SLEEP_BUTTON  (1u << 5)
#define FADT_NO_FIXED_RTC     (1u << 6)
#define FACS_ALIGNMENT	      64
#define FADT_RESET_SUPPORTED  (1u << 10)
#define FADT_HARDWARE_REDUCED (1u << 20)

#define MADT_PC_COMPATIBLE 1 /* there is a pair of 8259s too */
#define MADT_LAPIC	   0
#define MADT_IOAPIC	   1
#define MADT_OVERRIDE	   2
#define MADT_LAPIC_NMI	   4
#define MADT_ENABLED	   1
#define SRAT_REVISION	   3
#define SRAT_CPU	   0
#define SRAT_MEMORY	   1
#define SRAT_ENABLED	   1
#define SRAT_HOT_PLUGGABLE 2
#define MADT_CAN_COME	   2 /* "Online Capable" */
#define MADT_ACTIVE_HIGH_LEVEL 0x000d

#define CMOS_CENTURY 0x32

struct table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct gas {
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_gpa, length;
	uint64_t xsdt_gpa;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct fadt {
	struct table_header header;
	uint32_t facs_gpa, dsdt_gpa;
	uint8_t reserved0, profile;
	uint16_t sci_irq;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4_bios, pstate_control;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0,
		gpe1;
	uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	uint8_t gpe0_bytes, gpe1_bytes, gpe1_base, cst_control;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_architecture;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_architecture;
	uint8_t minor_revision;
	uint64_t x_facs_gpa, x_dsdt_gpa;
	struct gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control;
	struct gas x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

struct facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length, processor_uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t gpa, gsi_base;
} __attribute__((packed));

struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, length, processor_uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

struct mcfg_entry {
	uint64_t gpa;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved;
} __attribute__((packed));

static uint8_t checksum(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (size--)
		sum += *at++;
	return -sum;
}

/* Begin a table at the next 64-byte boundary (what the FACS needs; it suits all). */
static size_t begin(struct aml *out)
{
	static const uint8_t padding[64];

	aml_bytes(out, padding, -out->used & 63);
	return out->used;
}

static size_t begin_table(struct aml *out, const char *signature, uint8_t revision)
{
	struct table_header header = {
		.revision = revision,
		.oem_id = {'K', 'V', 'I', 'K', ' ', ' '},
		.oem_table_id = {'K', 'V', 'I', 'K', ' ', ' ', ' ', ' '},
		.oem_revision = 1,
		.creator_id = {'K', 'V', 'I', 'K'},
		.creator_revision = 1,
	};
	size_t at = begin(out);

	memcpy(header.signature, signature, sizeof(header.signature));
	aml_bytes(out, &header, sizeof(header));
	return at;
}

/* Fill in length and checksum; the table's address. */
static uint64_t end_table(struct aml *out, size_t at)
{
	struct table_header *header = (struct table_header *)(out->bytes + at);

	if (out->is_full)
		return 0;
	header->length = out->used - at;
	header->checksum = 0;
	header->checksum = checksum(header, header->length);
	return ACPI_TABLES_GPA + at;
}

/* What is to be written to PM1a's and PM1b's control register (§16.1.3). */
static void add_sleep_state(struct aml *out, const char *name, unsigned type)
{
	size_t mark;

	aml_name_declare(out, name);
	mark = aml_package_begin(out, 4);
	aml_integer(out, type);
	aml_integer(out, type);
	aml_integer(out, 0);
	aml_integer(out, 0);
	aml_end(out, mark);
}

static uint64_t build_dsdt(const struct acpi_config *config, struct aml *out)
{
	size_t at = begin_table(out, "DSDT", DSDT_REVISION), scope, mark;
	char name[5];
	unsigned i;

	if (config->can_sleep)
		add_sleep_state(out, "\\_S3", ACPI_PM_SLEEP_TYPE_S3);
	add_sleep_state(out, "\\_S5", ACPI_PM_SLEEP_TYPE_S5);
	config->describe(out, config->context);
	scope = aml_scope_begin(out, "\\_SB");
	for (i = 0; i < config->cpus && !config->has_cpu_devices; i++) {
		memcpy(name, "C000", sizeof(name));
		name[2] = "0123456789ABCDEF"[i >> 4 & 0xf];
		name[3] = "0123456789ABCDEF"[i & 0xf];
		mark = aml_device_begin(out, name);
		aml_name_string(out, "_HID", "ACPI0007");
		aml_name_integer(out, "_UID", i);
		aml_end(out, mark);
	}
	aml_end(out, scope);
	return end_table(out, at);
}

static uint64_t build_facs(struct aml *out)
{
	struct facs facs = {
		.signature = {'F', 'A', 'C', 'S'}, .length = sizeof(facs), .version = 2};
	size_t at = begin(out);

	aml_bytes(out, &facs, sizeof(facs));
	return ACPI_TABLES_GPA + at;
}

static struct gas io_register(uint16_t port, unsigned bytes)
{
	/* Access sizes 1, 2, 3 are byte, word, doubleword. */
	return (struct gas){GAS_SYSTEM_IO, bytes * 8, 0, bytes == 4 ? 3 : bytes, port};
}

static void fill_fixed_hardware(const struct acpi_config *config, struct fadt *fadt)
{
	fadt->pm1a_event = config->pm_port + ACPI_PM_EVENT_OFFSET;
	fadt->pm1a_control = config->pm_port + ACPI_PM_CONTROL_OFFSET;
	fadt->pm_timer = config->pm_port + ACPI_PM_TIMER_OFFSET;
	fadt->gpe0 = config->pm_port + (config->is_ich9 ? ACPI_PM_ICH9_GPE_OFFSET : ACPI_PM_GPE_OFFSET);
	fadt->pm1_event_bytes = 4;
	fadt->pm1_control_bytes = 2;
	fadt->pm_timer_bytes = 4;
	fadt->gpe0_bytes = config->is_ich9 ? ACPI_PM_ICH9_GPE_BYTES : 4;
	fadt->x_pm1a_event = io_register(fadt->pm1a_event, 4);
	fadt->x_pm1a_event.access = 2; /* status and enable are words */
	fadt->x_pm1a_control = io_register(fadt->pm1a_control, 2);
	fadt->x_pm_timer = io_register(fadt->pm_timer, 4);
	fadt->x_gpe0 = io_register(fadt->gpe0, fadt->gpe0_bytes);
	fadt->x_gpe0.access = 1;
	fadt->sci_irq = config->sci_irq;
}

static uint64_t build_fadt(const struct acpi_config *config, struct aml *out, uint64_t facs,
			   uint64_t dsdt)
{
	size_t at = begin_table(out, "FACP", FADT_REVISION);
	struct fadt fadt = {
		.facs_gpa = facs,
		.dsdt_gpa = dsdt,
		.x_dsdt_gpa = dsdt,
		.c2_latency = 0xfff, /* above 100 and 1000: there is no C2 and no C3 */
		.c3_latency = 0xfff,
		.century = CMOS_CENTURY,
		.boot_architecture = config->boot_architecture,
		.flags = FADT_WBINVD | FADT_C1_SUPPORTED | FADT_NO_SLEEP_BUTTON |
			 (config->can_sleep ? 0 : FADT_NO_FIXED_RTC) | FADT_RESET_SUPPORTED,
		.reset = io_register(config->reset_port, 1),
		.reset_value = config->reset_value,
		.minor_revision = FADT_MINOR,
		.hypervisor = 0x4b49564b, /* "KVIK" */
	};

	if (config->is_hardware_reduced) {
		fadt.flags |= FADT_HARDWARE_REDUCED | FADT_BUTTON_BY_METHOD;
		fadt.sleep_control = io_register(config->sleep_port + ACPI_SLEEP_CONTROL_OFFSET, 1);
		fadt.sleep_status = io_register(config->sleep_port + ACPI_SLEEP_STATUS_OFFSET, 1);
	} else {
		fill_fixed_hardware(config, &fadt);
	}
	/* begin_table has written the header already. */
	aml_bytes(out, (uint8_t *)&fadt + sizeof(fadt.header), sizeof(fadt) - sizeof(fadt.header));
	return end_table(out, at);
}

void acpi_lapic_entry(uint8_t bytes[ACPI_LAPIC_BYTES], unsigned cpu, uint8_t apic_id)
{
	const struct madt_lapic lapic = {MADT_LAPIC, sizeof(lapic), cpu, apic_id, MADT_ENABLED};

	_Static_assert(sizeof(lapic) == ACPI_LAPIC_BYTES, "its length");
	memcpy(bytes, &lapic, sizeof(lapic));
}

static uint64_t build_madt(const struct acpi_config *config, struct aml *out)
{
	size_t at = begin_table(out, "APIC", MADT_REVISION);
	struct {
		uint32_t lapic_gpa, flags;
	} fixed = {LAPIC_GPA, MADT_PC_COMPATIBLE};
	struct madt_lapic lapic = {MADT_LAPIC, sizeof(lapic), 0, 0, MADT_ENABLED};
	struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof(ioapic), 0, 0, IOAPIC_GPA, 0};
	/* The timer's IRQ 0 is wired to pin 2; the SCI is level-triggered. */
	struct madt_override timer = {MADT_OVERRIDE, sizeof(timer), 0, 0, 2, 0};
	struct madt_override sci = {MADT_OVERRIDE, sizeof(sci), 0, config->sci_irq, config->sci_irq,
				    MADT_ACTIVE_HIGH_LEVEL};
	struct madt_lapic_nmi nmi = {MADT_LAPIC_NMI, sizeof(nmi), 0xff, 0, 1};
	unsigned i;

	aml_bytes(out, &fixed, sizeof(fixed));
	for (i = 0; i < config->cpus; i++) {
		lapic.processor_uid = i;
		lapic.apic_id = config->apic_ids[i];
		lapic.flags = config->present_cpus >> i & 1 ? MADT_ENABLED : MADT_CAN_COME;
		aml_bytes(out, &lapic, sizeof(lapic));
	}
	aml_bytes(out, &ioapic, sizeof(ioapic));
	aml_bytes(out, &timer, sizeof(timer));
	if (!config->is_hardware_reduced)
		aml_bytes(out, &sci, sizeof(sci));
	aml_bytes(out, &nmi, sizeof(nmi));
	return end_table(out, at);
}

/* PCI Firmware 3.2 §4.1.2. */
static uint64_t build_mcfg(const struct acpi_config *config, struct aml *out)
{
	static const uint8_t reserved[8];
	size_t at = begin_table(out, "MCFG", 1);
	struct mcfg_entry entry = {.gpa = config->ecam_gpa, .last_bus = config->last_bus};

	aml_bytes(out, reserved, sizeof(reserved));
	aml_bytes(out, &entry, sizeof(entry));
	return end_table(out, at);
}

/* TCG ACPI Specification 1.3, table 7. */
static uint64_t build_tpm2(const struct acpi_config *config, struct aml *out)
{
	size_t at = begin_table(out, "TPM2", 4);
	const bool is_crb = config->tpm == ACPI_TPM_CRB;
	const struct {
		uint16_t platform_class, reserved; /* 0: a client */
		uint64_t control_gpa;
		uint32_t start_method; /* 6: FIFO; 7: CRB */
		uint8_t parameters[12];
	} __attribute__((packed)) fixed = {.control_gpa = is_crb ? TPM_CRB_CONTROL_GPA : 0, .start_method = is_crb ? 7 : 6};
	const struct {
		uint32_t bytes;
		uint64_t gpa; /* firmware adds where it is */
	} __attribute__((packed)) log = {.bytes = ACPI_TPM_LOG_BYTES};

	aml_bytes(out, &fixed, sizeof(fixed));
	if (config->has_log_area)
		aml_bytes(out, &log, sizeof(log));
	return end_table(out, at);
}

static void add_memory_affinity(struct aml *out, uint64_t gpa, uint64_t end, uint32_t flags)
{
	const struct {
		uint8_t type, length;
		uint32_t domain;
		uint16_t reserved;
		uint64_t gpa, size_bytes;
		uint32_t reserved2, flags;
		uint64_t reserved3;
	} __attribute__((packed)) entry = {
		SRAT_MEMORY, sizeof(entry), .gpa = gpa, .size_bytes = end - gpa, .flags = SRAT_ENABLED | flags};

	if (end > gpa)
		aml_bytes(out, &entry, sizeof(entry));
}

/* One domain of proximity for all (§5.2.16): without it Linux does not know up to where memory may come, and would not
 * have buffers for devices that do not reach as far. */
static uint64_t build_srat(const struct acpi_config *config, struct aml *out)
{
	static const uint8_t fixed[12] = {1}; /* "reserved to be 1", reserved */
	const struct ram *ram = config->ram;
	size_t at = begin_table(out, "SRAT", SRAT_REVISION);
	struct {
		uint8_t type, length, domain, apic_id;
		uint32_t flags;
		uint8_t sapic, domain_high[3];
		uint32_t clock;
	} __attribute__((packed)) cpu = {SRAT_CPU, sizeof(cpu), .flags = SRAT_ENABLED};
	unsigned i;

	aml_bytes(out, fixed, sizeof(fixed));
	for (i = 0; i < config->cpus; i++) {
		cpu.apic_id = config->apic_ids[i];
		aml_bytes(out, &cpu, sizeof(cpu));
	}
	add_memory_affinity(out, 0, RAM_VIDEO_HOLE, 0);
	add_memory_affinity(out, RAM_SHADOW_END, ram->low_end, 0);
	add_memory_affinity(out, RAM_HIGH_START, ram->high_end, 0);
	add_memory_affinity(out, ram->more_gpa, ram->more_gpa + ram->more_span, SRAT_HOT_PLUGGABLE);
	return end_table(out, at);
}

uint32_t acpi_waking_vector(const struct guest_memory *memory)
{
	struct facs facs;
	uint64_t gpa;

	for (gpa = ACPI_TABLES_GPA; gpa < ACPI_TABLES_GPA + ACPI_TABLES_MAX; gpa += FACS_ALIGNMENT)
		if (guest_memory_read(memory, gpa, &facs, sizeof(facs)) == 0 &&
		    memcmp(facs.signature, "FACS", sizeof(facs.signature)) == 0)
			return facs.waking_vector;
	return 0;
}

int acpi_tables_build(const struct acpi_config *config, uint8_t *bytes, struct error *error)
{
	struct aml out = {.bytes = bytes, .capacity = ACPI_TABLES_MAX};
	struct rsdp rsdp = {
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'K', 'V', 'I', 'K', ' ', ' '},
		.revision = RSDP_REVISION,
		.length = sizeof(rsdp),
	};
	uint64_t dsdt, facs, listed[5];
	uint32_t listed32[5];
	unsigned count = 2, i;
	size_t at;

	aml_bytes(&out, &rsdp, sizeof(rsdp)); /* room for it */
	dsdt = build_dsdt(config, &out);
	facs = build_facs(&out);
	listed[0] = build_fadt(config, &out, facs, dsdt);
	listed[1] = build_madt(config, &out);
	if (config->ecam_gpa)
		listed[count++] = build_mcfg(config, &out);
	if (config->tpm)
		listed[count++] = build_tpm2(config, &out);
	if (config->ram)
		listed[count++] = build_srat(config, &out);
	for (i = 0; i < count; i++)
		listed32[i] = listed[i];
	at = begin_table(&out, "RSDT", 1);
	aml_bytes(&out, listed32, count * sizeof(listed32[0]));
	rsdp.rsdt_gpa = end_table(&out, at);
	at = begin_table(&out, "XSDT", 1);
	aml_bytes(&out, listed, count * sizeof(listed[0]));
	rsdp.xsdt_gpa = end_table(&out, at);
	if (out.is_full)
		return error_set(error, ENOSPC, "the ACPI tables don't fit");
	/* The first checksum covers ACPI 1.0's 20 bytes. */
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(bytes, &rsdp, sizeof(rsdp));
	return out.used;
}
