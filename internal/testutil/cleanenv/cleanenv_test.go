package cleanenv

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for name, want := range map[string]bool{
		"PATH": true, "HOME": true, "TMPDIR": true, "GOCACHE": true, "GOPROXY": true, "CGO_ENABLED": true, "INVOICEBOX_TEST_KAFKA": true, "SIMULATION_SEED": true,
		"INVOICEBOX_WORKER_PARTNER_ID": false, "INVOICEBOX_WORKER_JOURNAL_URL": false, "INVOICEBOX_SANDBOX_SEED": false, "PARTNER_ID": false, "INVOICEBOX_URL": false, "WINDOW": false,
		"PGHOST": false, "PGSSLMODE": false, "PGSERVICE": false, "PGOPTIONS": false, "PGPASSFILE": false, "HTTPS_PROXY": false, "https_proxy": false, "NO_PROXY": false, "ALL_PROXY": false,
		"SSL_CERT_FILE": false, "SSL_CERT_DIR": false, "NO_COLOR": false, "CLICOLOR_FORCE": false, "TERM": false, "COLUMNS": false, "LANG": false, "LC_ALL": false, "TZ": false,
		"GOFLAGS": false, "GODEBUG": false, "GOMEMLIMIT": false, "JAVA_TOOL_OPTIONS": false, "_JAVA_OPTIONS": false, "KAFKA_HEAP_OPTS": false, "CLASSPATH": false,
		"VAULT_ADDR": false, "VAULT_TOKEN": false, "BAO_ADDR": false, "SUDO_USER": false, "LISTEN_FDS": false, "NOTIFY_SOCKET": false,
	} {
		if got := len(Of([]string{name + "=x"})) == 1; got != want {
			t.Errorf("%s: kept %t, want %t", name, got, want)
		}
	}
}

func TestUse(t *testing.T) {
	before := os.Environ()
	t.Cleanup(func() {
		os.Clearenv()
		for _, entry := range before {
			name, value, _ := strings.Cut(entry, "=")
			_ = os.Setenv(name, value) //nolint:usetesting // it puts back what was there
		}
	})
	t.Setenv("PGHOST", "db.example")
	t.Setenv("INVOICEBOX_TEST_X", "a=b")
	Use()
	if os.Getenv("PGHOST") != "" || os.Getenv("INVOICEBOX_TEST_X") != "a=b" || os.Getenv("PATH") == "" {
		t.Errorf("the environment is %q", os.Environ())
	}
}

// Every package whose tests start something outside of them, or that is a program
// and so reads the environment, calls Use.
func TestEveryTestMainUsesIt(t *testing.T) {
	starts := regexp.MustCompile(`\bexec\.Command|\bpgtest\.[A-Z]|\bkafkatest\.[A-Z]|\bjournaltest\.SmallDisk|\bworker\.Run\(`)
	reads := regexp.MustCompile(`(?m)^func main\(\)`)
	needs, uses, read, tested := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata") {
			return err
		}
		text, err := os.ReadFile(path)
		folder := filepath.Dir(path)
		if !strings.HasSuffix(path, "_test.go") {
			read[folder] = read[folder] || reads.Match(text)
			return err
		}
		tested[folder] = true
		needs[folder] = needs[folder] || starts.Match(text)
		uses[folder] = uses[folder] || strings.Contains(string(text), "cleanenv.Use()")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range read {
		needs[folder] = needs[folder] || read[folder] && tested[folder]
	}
	var missing []string
	found := 0
	for folder, need := range needs {
		if need && filepath.Base(folder) != "cleanenv" {
			found++
			if !uses[folder] {
				missing = append(missing, folder)
			}
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 || found < 10 {
		t.Errorf("of %d packages whose tests start processes, brokers or databases, or read the environment, these do not call cleanenv.Use in TestMain: %s", found, strings.Join(missing, " "))
	}
}
