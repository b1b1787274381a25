################################################################################
#
# thimble
#
################################################################################

THIMBLE_VERSION = $(call qstrip,$(BR2_PACKAGE_THIMBLE_REVISION))
THIMBLE_SITE = $(call qstrip,$(BR2_PACKAGE_THIMBLE_GIT))
THIMBLE_SITE_METHOD = git
THIMBLE_LICENSE = MIT or Apache-2.0
THIMBLE_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
# What a commit holds is in its name, and each crate has its checksum in Cargo.lock.
BR_NO_CHECK_HASH_FOR += $(THIMBLE_SOURCE)

THIMBLE_CARGO_BUILD_OPTS = --package thimble
# Buildroot's own settings for all of Cargo's packages make the program half as large again.
THIMBLE_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_LTO=fat \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1

define THIMBLE_INSTALL_TARGET_CMDS
	$(@D)/support/install --destdir $(TARGET_DIR) \
		--program $(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/thimble \
		--units /usr/lib/systemd/system \
		$(if $(BR2_INIT_SYSTEMD),,--without-systemd)
endef

define THIMBLE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(THIMBLE_PKGDIR)/S60thimble $(TARGET_DIR)/etc/init.d/S60thimble
endef

$(eval $(cargo-package))
