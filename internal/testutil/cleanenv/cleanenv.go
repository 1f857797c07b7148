// Package cleanenv keeps the environment of whoever runs the tests out of the
// programs under test: settings exported for a worker, PGHOST, proxies, GOFLAGS,
// JAVA_TOOL_OPTIONS. A package whose tests start processes, brokers or databases
// calls Use in its TestMain; the processes inherit the environment from there.
package cleanenv

import (
	"os"
	"slices"
	"strings"
)

// Use replaces the environment of this process with Of(os.Environ()).
func Use() {
	kept := Of(os.Environ())
	os.Clearenv()
	for _, entry := range kept {
		name, value, _ := strings.Cut(entry, "=")
		_ = os.Setenv(name, value) // it comes from an environment, so its form is right
	}
}

// Of keeps of an environment what programs need to run at all, what the go
// command needs to build, and the variables of our own tests.
func Of(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return !kept(name)
	})
}

func kept(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "JAVA_HOME",
		"CGO_ENABLED", "CC", "CXX",
		"SystemRoot", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "LOCALAPPDATA", "PATHEXT", "ComSpec":
		return true
	case "GOFLAGS", "GODEBUG", "GOGC", "GOMEMLIMIT", "GOTRACEBACK":
		return false
	}
	for _, prefix := range []string{
		"GO", // GOCACHE, GOPROXY, GOTOOLCHAIN …
		"INVOICEBOX_TEST_", "INVOICEBOX_BENCH_", "INVOICEBOX_CHAOS", "INVOICEBOX_LEDGER_", "INVOICEBOX_JOURNAL_TEST_", "INVOICEBOX_MOVE_TEST_",
		"KAFKATEST_", "SIMULATION_",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
