# SPDX-License-Identifier: Apache-2.0
# Everything that a person types. Whatever a target needs, it installs.
# An edited configuration is the site's: `make install` keeps it.

SHELL := /bin/bash
VENV := build/venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest -q
# Two workers, each with a cluster of its own; a module runs on one. In this order the long ones do not come last.
APART := -n 2 --dist loadfile --no-loadscope-reorder tests/faults tests/cluster tests/attacks
# What no other lab's kernel has: nftables for inet with systemd, a frame's bridge, cpuset, io and hugetlb of cgroup v2.
STOCK := tests/cluster/test_holding.py tests/cluster/test_networks.py tests/attacks/test_networks.py

DESTDIR :=
libdir := /usr/lib/slurm-hooks
man := /usr/share/man
# Where a file of etc/ goes.
PLACE = case $$file in systemd/*) to=$(DESTDIR)/usr/lib/systemd/system/$${file\#systemd/};; \
  ansible/*|prometheus/*|selinux/*) to=$(DESTDIR)/usr/share/slurm-hooks/$$file;; \
  tmpfiles.d/*) to=$(DESTDIR)/usr/lib/$$file;; \
  bash-completion/*) to=$(DESTDIR)/usr/share/bash-completion/completions/$${file\#bash-completion/};; \
  *) to=$(DESTDIR)/etc/$$file;; esac

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

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
	  $(PLACE); \
	  mode=644; case $$file in slurm/*.d/*|slurm/*.sh) mode=755;; esac; \
	  case $$file in slurm-hooks/*.toml) [ ! -e "$$to" ] || continue;; esac; \
	  install -D -m $$mode "$$file" "$$to"; done
	install -D -m 644 -t $(DESTDIR)$(man)/man1 docs/man/*.1
	install -D -m 644 -t $(DESTDIR)$(man)/man5 docs/man/*.5
	install -d -m 750 $(DESTDIR)/var/log/slurm-hooks

.PHONY: uninstall
uninstall:  ## what install has put there, but for the site's configuration and the log
	cd etc && find . -type f ! -path './slurm-hooks/*' -printf '%P\n' | while read -r file; do \
	  $(PLACE); \
	  rm -f "$$to"; done
	rm -rf $(DESTDIR)$(libdir) $(DESTDIR)/usr/share/slurm-hooks $(DESTDIR)/usr/bin/slurm-hooks
	rm -f $(DESTDIR)$(man)/man[15]/slurm-hooks*

.PHONY: deb rpm dist
deb:  ## Debian packages for bookworm, trixie and sid, in build/deb/
	@tests/packages/deb.sh build/deb
	@ls -sh build/deb

rpm:  ## an RPM package for Fedora and Enterprise Linux from 10 on, in build/rpm/
	@tests/packages/rpm.sh build/rpm
	@ls -sh build/rpm

dist: $(VENV)  ## a wheel and an sdist, in build/dist/
	@tests/packages/dist.sh build/dist

.PHONY: pages
pages: $(VENV)  ## man pages and bash completion anew, from the command line and the settings
	@$(PYTHON) -m tests.pages

.PHONY: $(VENV)
$(VENV):
	@tests/venv.sh $@

.PHONY: demo demo-v2 bench shell
demo: $(VENV)  ## seven scenes on a real Slurm cluster of containers (LAB=uml: on a real node)
	@$(PYTHON) -m tests.demo --lab $(or $(LAB),compose)

demo-v2: $(VENV)  ## the same as a machine with cgroup v2 has it, which QEMU emulates: ten minutes and more
	@$(PYTHON) -m tests.demo.newcomer

bench: $(VENV)  ## what it costs, as paired ratios; build/bench.json
	@$(PYTHON) -m tests.bench

shell: $(VENV)  ## a shell on the demo's controller, as ann (HOST=cn1 AS=root: on a node)
	@$(PYTHON) -m tests.labs.compose shell $(or $(HOST),ctl) --user $(or $(AS),ann)

.PHONY: docs
docs: $(VENV)  ## the documentation as a site: build/site/index.html
	$(PYTHON) -m mkdocs build

.PHONY: test test-unit test-compose test-uml test-releases
test: $(VENV)  ## everything: linters, unit and property tests, the suite on both labs, a look at each release
	@tests/all.sh test-unit -- test-compose test-uml,test-releases

test-unit: $(VENV)  ## what needs no cluster
	tests/labs/host.sh
	tests/labs/promtool.sh >/dev/null
	$(PYTEST) -n 2 tests/unit tests/property

test-compose: $(VENV)  ## the suite on lab (a): docker-compose, on this machine's cgroup version
	$(PYTEST) $(APART) --lab compose -m "not long"

test-uml: $(VENV)  ## the suite on lab (b): a real node with systemd, cgroup v2, AppArmor (user-mode Linux)
	$(PYTEST) $(APART) --lab uml -m "not anywhere and not long"

test-releases: $(VENV) deb  ## each release of Slurm and Docker, installed by the book: jobs, containers, the sweep
	$(PYTHON) -m tests.nodes --short

.PHONY: test-selinux
test-selinux: $(VENV)  ## on demand: the type and level of SELinux, on lab (b) with a kernel and a disk that have it
	$(PYTEST) tests/cluster/test_selinux.py --lab uml-selinux

.PHONY: test-pair
test-pair: $(VENV)  ## on demand: jobs of two nodes, on two like lab (b)'s with a cable between them
	$(PYTEST) tests/cluster/test_two_nodes.py tests/cluster/test_kinds.py --lab pair

.PHONY: test-packages
test-packages: $(VENV) deb rpm dist  ## on demand: the packages on each suite: installed, run, upgraded, removed, purged
	$(PYTEST) tests/packages

.PHONY: test-nodes
test-nodes: $(VENV) deb  ## on demand: each release of Slurm and Docker, installed by the book (CELLS="22.05 26.05-alloc")
	$(PYTHON) -m tests.nodes $(CELLS)

.PHONY: test-emulated
test-emulated: $(VENV)  ## on demand: what only a stock kernel has, on lab (c), which QEMU emulates: slow
	$(PYTEST) $(STOCK) --lab emulated --timeout 2400

.PHONY: scale
scale: $(VENV)  ## jobs at once and a thousand in a row: our time for each, what slurmctld is asked; build/scale.json
	@$(PYTHON) -m tests.scale

.PHONY: nightly
nightly: $(VENV)  ## before a release: all of the suite on both labs, lab (c), each release, then what takes long
	tests/all.sh test-unit test-packages test-compose nightly-uml test-pair test-nodes test-emulated demo-v2 scale abuse fuzz mutants

.PHONY: nightly-uml
nightly-uml: $(VENV)
	$(PYTEST) $(APART) --lab uml

.PHONY: abuse
abuse: $(VENV)  ## a job's loads on the broker, and another job's docker run beside them (LAB=uml); build/abuse.json
	@$(PYTHON) -m tests.abuse --lab $(or $(LAB),compose)

.PHONY: compare
compare: $(VENV)  ## what plain docker run gives a program, and what it gets in a job: the kernel's facts (LAB=uml)
	@$(PYTHON) -m tests.compare --lab $(or $(LAB),compose)

.PHONY: faults
faults: $(VENV)  ## faults at every step of a job: the suite, then ROUNDS=200 of SEED=1, an audit after each (LAB=uml)
	$(PYTEST) tests/faults --lab $(or $(LAB),compose)
	$(PYTHON) -m tests.campaign --lab $(or $(LAB),compose) --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),1) --minutes $(or $(MINUTES),120)
	$(PYTHON) -m tests.campaign --lab $(or $(LAB),compose) --table

.PHONY: fuzz
fuzz: $(VENV)  ## what reads a client's bytes, guided by coverage (RUNS=2500000 for each of four targets)
	$(PYTHON) -m tests.fuzz --runs $(or $(RUNS),250000)

.PHONY: mutants
mutants: $(VENV)  ## does a test notice when the policy is changed? exit 1 below 90 %
	tests/mutants.sh

.PHONY: clean
clean:  ## stop the labs and leave the machine as it was; the cache stays (make distclean)
	if [ -e $(PYTHON) ]; then $(PYTHON) -m tests.labs.uml down; $(PYTHON) -m tests.labs.emulated down; fi
	tests/labs/clean.sh
	rm -rf build mutants

.PHONY: distclean
distclean: clean  ## clean, and the cache: trees, images, virtual environments
	tests/labs/clean.sh --all
