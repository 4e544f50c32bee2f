# SPDX-License-Identifier: Apache-2.0
# Everything that a person types. Whatever a target needs, it installs.
# An edited configuration is the site's: `make install` keeps it.

SHELL := /bin/bash
CACHE := $(or $(SLURM_HOOKS_CACHE),/var/cache/slurm-hooks)
VENV := $(CACHE)/venv-$(shell sha256sum pyproject.toml 2>/dev/null | cut -c1-12)
PYTHON := $(VENV)/bin/python

DESTDIR :=
libdir := /usr/lib/slurm-hooks

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: install
install:  ## the node's files: package, program, hooks, units (DESTDIR=… for packagers)
	install -d -m 755 $(DESTDIR)$(libdir) $(DESTDIR)/usr/bin $(DESTDIR)/etc
	rm -rf $(DESTDIR)$(libdir)/slurm_hooks
	cp -r --no-preserve=ownership slurm_hooks $(DESTDIR)$(libdir)/
	find $(DESTDIR)$(libdir) -name __pycache__ -prune -exec rm -rf {} +
	/usr/bin/python3 -m compileall -q -s "$(DESTDIR)" $(DESTDIR)$(libdir)
	printf '%s\n' '#!/usr/bin/python3 -I' 'import sys' 'sys.path.insert(0, "$(libdir)")' \
	  'from slurm_hooks.cli import main' 'sys.exit(main())' > $(DESTDIR)/usr/bin/slurm-hooks
	chmod 755 $(DESTDIR)/usr/bin/slurm-hooks
	cd etc && find . -type f -printf '%P\n' | while read -r file; do \
	  case $$file in systemd/*) to=$(DESTDIR)/usr/lib/systemd/system/$${file#systemd/};; *) to=$(DESTDIR)/etc/$$file;; esac; \
	  mode=644; case $$file in slurm/*.d/*|slurm/*.sh) mode=755;; esac; \
	  case $$file in slurm-hooks/*.toml) [ ! -e "$$to" ] || continue;; esac; \
	  install -D -m $$mode "$$file" "$$to"; done
	install -d -m 750 $(DESTDIR)/var/log/slurm-hooks
