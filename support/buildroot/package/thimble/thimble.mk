################################################################################
#
# thimble
#
################################################################################

# By default what is built is the commit that these files are of.
THIMBLE_CHECKOUT = $(abspath $(BR2_EXTERNAL_THIMBLE_PATH)/../..)
THIMBLE_SITE = $(or $(call qstrip,$(BR2_PACKAGE_THIMBLE_GIT)),file://$(THIMBLE_CHECKOUT))
THIMBLE_SITE_METHOD = git
THIMBLE_VERSION := $(or $(call qstrip,$(BR2_PACKAGE_THIMBLE_REVISION)),$(if $(BR2_PACKAGE_THIMBLE),$(shell git -C $(THIMBLE_CHECKOUT) rev-parse --verify HEAD)))
ifeq ($(BR_BUILDING)$(BR2_PACKAGE_THIMBLE)$(THIMBLE_VERSION),yy)
$(error BR2_PACKAGE_THIMBLE_REVISION is empty, and git knows no commit of $(THIMBLE_CHECKOUT))
endif
THIMBLE_LICENSE = MIT or Apache-2.0
THIMBLE_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
# What a commit holds is in its name, and each crate has its checksum in Cargo.lock.
BR_NO_CHECK_HASH_FOR += $(THIMBLE_SOURCE)

THIMBLE_CARGO_BUILD_OPTS = \
	--package thimble \
	$(if $(BR2_PACKAGE_THIMBLE_GPIO),,--no-default-features)
# Buildroot's own settings for all of Cargo's packages make the program half as large again.
THIMBLE_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_LTO=fat \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1

# Files of an earlier build are replaced; what is the product's own comes later, from its overlay.
THIMBLE_INSTALL_OPTS = --overwrite
ifeq ($(BR2_INIT_SYSTEMD),y)
THIMBLE_INSTALL_OPTS += --units /usr/lib/systemd/system
THIMBLE_INSTALL_OPTS += $(if $(BR2_PACKAGE_THIMBLE_ANY_MODULE),--any-module)
else ifeq ($(BR2_INIT_OPENRC),y)
THIMBLE_INSTALL_OPTS += --openrc /etc/init.d/mender-updated
else ifneq ($(BR2_INIT_BUSYBOX)$(BR2_INIT_SYSV),)
THIMBLE_INSTALL_OPTS += --sysv /etc/init.d/S60thimble
else
THIMBLE_INSTALL_OPTS += --without-systemd
endif

THIMBLE_DATASTORE = $(call qstrip,$(BR2_PACKAGE_THIMBLE_DATASTORE))

define THIMBLE_INSTALL_TARGET_CMDS
	$(@D)/support/install --destdir $(TARGET_DIR) \
		--program $(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/thimble \
		$(THIMBLE_INSTALL_OPTS)
	$(if $(THIMBLE_DATASTORE),\
		mkdir -p $(TARGET_DIR)/var/lib && \
		ln -sfT $(THIMBLE_DATASTORE) $(TARGET_DIR)/var/lib/mender)
endef

$(eval $(cargo-package))
