# A short front end to meson and ninja: the commands that a person types. Every target first lets
# tools/setup install the Debian packages that it needs and that are missing.

BUILD   ?= build
SECONDS ?= 60
NINJA    = ninja -C $(BUILD)
MEMORY  ?= 1G
CPUS    ?= 1
MINUTES ?= 60
ENGINE  ?= auto

all: $(BUILD)/build.ninja
	@$(NINJA)

$(BUILD)/build.ninja:
	@tools/setup build
	@meson setup $(BUILD)

# Programs, libraries, manual pages, completion: below /usr/local, or where meson's prefix is; inside DESTDIR.
install: all
	@meson install -C $(BUILD) --no-rebuild

# Boots Debian's cloud kernel with a busybox initramfs to a shell on this terminal.
run: all
	@kernel=$$(tools/guest-image kernel) && initrd=$$(tools/guest-image initramfs) && \
	exec $(BUILD)/src/cli/kvik run --kernel "$$kernel" --initrd "$$initrd" \
		--append "console=ttyS0" --memory $(MEMORY) --cpus $(CPUS) $(ARGS)

# Everything that has to hold before a change lands; ends with the counts.
check:
	@tools/setup build check
	@tools/check

# The tests and boots of `check` on a host with less: AVX-512, AVX, BMI2, FSGSBASE hidden.
check-masked: all
	@tools/setup build check
	@tools/check masked

# The tests on a host of another vendor: a guest of the engine's whose CPU is CPU=EPYC-Genoa.
check-vendor: all
	@tools/setup build check soak
	@tests/vendor/run --build $(BUILD) --cpu $(or $(CPU),EPYC-Genoa)
	@tests/vendor/run --build $(BUILD) --cpu $(or $(CPU),EPYC-Genoa) --suites differential --engine interp

bench: all
	@tools/setup build bench
	@bench/run --kvik $(BUILD)/src/cli/kvik $(ARGS)

# An hour of mixed work in a Debian guest, each result compared with a native one.
soak: all
	@tools/setup build soak
	@tests/soak/run --kvik $(BUILD)/src/cli/kvik --minutes $(MINUTES) --cpus $(CPUS) --engine $(ENGINE)

# Each fuzz target in turn for SECONDS seconds; FUZZ=name for one of them.
fuzz:
	@tools/setup build check
	@tools/fuzz --seconds $(SECONDS) $(FUZZ)

clean:
	rm -rf build build-*

help:
	@echo 'make          build kvik into $(BUILD)/src/cli/kvik'
	@echo 'make install  install it, with its manual pages'
	@echo 'make run      build, fetch a Linux kernel, boot it to a shell here'
	@echo '              (MEMORY=1G CPUS=1 ARGS="further kvik options"; ^A x quits)'
	@echo 'make check    build with gcc and clang, with and without sanitizers; run all tests'
	@echo 'make check-masked  the tests again with features of the host hidden, each in turn'
	@echo 'make check-vendor  the tests in a guest whose CPU is another vendor'"'"'s (CPU=EPYC-Genoa)'
	@echo 'make bench    measure the engine against QEMU TCG, user-mode Linux and the host (ARGS="--only programs")'
	@echo 'make soak     an hour of work in a guest, results compared (MINUTES=60 CPUS=1 ENGINE=auto)'
	@echo 'make fuzz     fuzz each target for SECONDS=60 seconds (FUZZ=name for one)'
	@echo 'make clean    remove what was built'

.PHONY: all install run check check-masked check-vendor bench soak fuzz clean help
