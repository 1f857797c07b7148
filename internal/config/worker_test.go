package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// program is the worker's, with a check of its own.
func program() Program {
	return Program{Prefix: WorkerPrefix, Checks: map[string]func(string) string{"journal": func(text string) string {
		if strings.HasPrefix(text, "sqlite:") {
			return ""
		}
		return "must begin with sqlite:"
	}}}
}

// read parses a command line and loads the settings of the worker.
func read(t *testing.T, env map[string]string, args ...string) (*Worker, error) {
	t.Helper()
	w, _, err := readGiven(t, env, args...)
	return w, err
}

func readGiven(t *testing.T, env map[string]string, args ...string) (*Worker, Given, error) {
	t.Helper()
	var cli struct {
		Worker `embed:""`
		Run    struct{} `cmd:"" settings:"*"`
	}
	parser, err := kong.New(&cli, kong.Name("worker"), program().Mapper(), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(append([]string{"run"}, args...))
	if err != nil {
		return nil, Given{}, err
	}
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	given, err := program().Load(ctx, Used(ctx.Selected(), ctx.Model.Flags), environ)
	return &cli.Worker, given, err
}

func variable(setting string) string { return program().Variable(setting) }

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every setting takes its value from the flag, else the environment, else the
// file, else its default.
func TestPrecedence(t *testing.T) {
	if testing.Short() {
		t.Skip("it is hundreds of command lines, parsed one after another")
	}
	// name, values of flag, environment and file: all different from the default.
	values := map[string][3]string{
		"kafka-brokers": {"a:1", "b:1", "c:1"}, "kafka-group": {"a", "b", "c"}, "kafka-tls": {"true", "true", "true"},
		"kafka-ca-file": {"a", "b", "c"}, "kafka-cert-file": {"a", "b", "c"}, "kafka-key-file": {"a", "b", "c"},
		"kafka-sasl-mechanism": {"plain", "scram-sha-256", "scram-sha-512"}, "kafka-username": {"a", "b", "c"}, "kafka-password-file": {"a", "b", "c"},
		"journal-url": {"sqlite:a", "sqlite:b", "sqlite:c"}, "keyset-file": {"a", "b", "c"}, "keyset-wrap": {"a/b", "c/d", "e/f/g"},
		"fetch-memory":  {"24MiB", "48MiB", "1GiB"},
		"journal-limit": {"1GiB", "2GiB", "3"}, "journal-reserve": {"1GiB", "2GiB", "3"}, "outbox-limit": {"1", "2", "3"}, "inbox-retention": {"100h", "200h", "300h"}, "dead-letter-retention": {"100h", "200h", "300h"},
		"dead-letter-limit": {"1", "2", "3"}, "dead-letter-size": {"1GiB", "2GiB", "3"},
		"invoicebox-ca-file": {"a", "b", "c"},
		"invoicebox-url":     {"https://a", "https://b", "https://c"}, "partner-id": {"a", "b", "c"}, "token-file": {"a", "b", "c"},
		"signing-key-file": {"a", "b", "c"}, "signing-algorithm": {"hmac-sha256", "hmac-sha512", "hmac-sha256"}, "signing-encoding": {"base64", "base64", "base64"},
		"requests-per-window": {"1", "2", "3"}, "window": {"1s", "2s", "3s"}, "egress-requests-per-window": {"1", "2", "3"}, "concurrency": {"1", "2", "3"},
		"credentials-listen": {"a:1", "b:1", "c:1"}, "credentials-callers-file": {"a", "b", "c"}, "credentials-cert-file": {"a", "b", "c"}, "credentials-key-file": {"a", "b", "c"}, "credentials-client-ca-file": {"a", "b", "c"},
		"credentials-store": {"sealed", "openbao", "vault"}, "vault-address": {"https://a:1", "http://127.0.0.1:2", "https://c"}, "vault-namespace": {"a", "b", "c"},
		"vault-ca-file": {"a", "b", "c"}, "vault-mount": {"a", "b/c", "d"}, "vault-token-file": {"a", "b", "c"}, "vault-role-id-file": {"a", "b", "c"}, "vault-secret-id-file": {"a", "b", "c"},
		"vault-kubernetes-role": {"a", "b", "c"}, "vault-jwt-role": {"a", "b", "c"}, "vault-jwt-file": {"a", "b", "c"}, "vault-auth-mount": {"a", "b/c", "d"},
		"forget-journal": {"2f6b2b8e-6a57-4a0e-9c66-0a4b1e7d9a10", "2f6b2b8e-6a57-4a0e-9c66-0a4b1e7d9a11", "2f6b2b8e-6a57-4a0e-9c66-0a4b1e7d9a12"},
		"start":          {"earliest", "latest", "2026-01-31T00:00:00Z"},
		"topic":          {"shop.invoicebox_invited=a", "shop.invoicebox_invited=b", "shop.invoicebox_invited=c"},
		"event-format":   {"structured", "structured", "structured"}, "id-header": {"a", "b", "c"}, "id-member": {"a", "b", "c"},
		"request-deadline": {"1s", "2s", "3s"}, "lease": {"1s", "2s", "3s"}, "quiet-period": {"1s", "2s", "3s"}, "slack": {"1s", "2s", "3s"},
		"unknown-outcome": {"hold", "hold", "hold"}, "cool-down": {"1s", "2s", "3s"}, "address-cool-down": {"1s", "2s", "3s"}, "maximum-age": {"1h", "2h", "3h"}, "verify-every": {"1h", "2h", "3h"}, "destroy-after": {"1h", "2h", "3h"}, "remind-after": {"1h", "2h,3h", "4h"}, "drain-time": {"1s", "2s", "3s"},
		"otlp-endpoint": {"https://a", "http://127.0.0.1:1", "https://c"}, "listen": {"a:1", "b:1", "c:1"}, "pprof": {"true", "true", "true"}, "log-level": {"debug", "warn", "error"}, "log-format": {"text", "json", "text"},
	}
	typ := reflect.TypeFor[Worker]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		name := f.Tag.Get("name")
		if name == "" || name == "config" {
			continue
		}
		v, ok := values[name]
		if !ok {
			t.Errorf("this test does not know the setting %s", name)
			continue
		}
		flag, set := "--"+name+"="+v[0], map[string]string{variable(name): v[1]}
		config := "--config=" + file(t, "c.yaml", name+": "+v[2]+"\n")
		empty := map[string]string{"X": "1", variable(name): ""}
		for _, c := range []struct {
			what string
			env  map[string]string
			args []string
			want string
		}{
			{"flag over all", set, []string{flag, config}, v[0]},
			{"environment over file", set, []string{config}, v[1]},
			{"file over default", nil, []string{config}, v[2]},
			{"an empty variable is none", empty, []string{config}, v[2]},
		} {
			s, err := read(t, c.env, c.args...)
			if err != nil {
				t.Errorf("%s: %s: %v", name, c.what, err)
				continue
			}
			want := reflect.New(f.Type).Elem()
			if err := program().assign(newRule(name, f.Tag), want, c.want); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := reflect.ValueOf(s).Elem().Field(i).Interface(); !reflect.DeepEqual(got, want.Interface()) {
				t.Errorf("%s: %s: %v, want %v", name, c.what, got, want)
			}
		}
	}
}

// Each wrong value is refused from each place, naming the setting and the value.
func TestWrongValues(t *testing.T) {
	if testing.Short() {
		t.Skip("it is hundreds of command lines, parsed one after another")
	}
	for name, values := range map[string][]string{
		"kafka-brokers": {"localhost", ":9092", "a:0", "a:65536", "a:1,", "a b:1", "kafka://a:1", "a:09"},
		"kafka-tls":     {"maybe", "2"}, "kafka-sasl-mechanism": {"PLAIN", "gssapi"},
		"invoicebox-url":      {"http://api.invoicebox.ru", "ftp://x", "x", "https://", "https://u:p@h", "https://h?x=1", "https://h#x", "http://localhost.evil.example", "https://h:0"},
		"partner-id":          {strings.Repeat("x", 37), "a b", "п"},
		"signing-algorithm":   {"md5", "HMAC-SHA1"},
		"requests-per-window": {"0", "-1", "1.5", "ten", "1000001", "99999999999999999999"}, "window": {"0", "0s", "30", "1ms", "61m", "-5s"},
		"concurrency": {"0", "4097", "abc"}, "credentials-store": {"Vault", "bao", "none"}, "vault-address": {"http://vault.example:8200", "vault:8200", "https://u:p@h", "https://h/v1", "https://h?x=1", "unix:///a"}, "vault-mount": {"/a", "a/", "a/../b", "a b", "."}, "vault-auth-mount": {"../x"}, "start": {"now", "2026-01-31", "0"},
		"topic":        {"x=y", "shop.invoicebox_invited", "shop.invoicebox_invited=", "shop.invoicebox_invited=a b", "shop.invoicebox_invited=..", "=x", "shop.invoicebox_invited=a,shop.invoicebox_invited=b"},
		"event-format": {"json"}, "request-deadline": {"1ms", "11m"}, "lease": {"0s", "2h"}, "slack": {"25h", "-1s"}, "unknown-outcome": {"probe"},
		"maximum-age": {"1s"}, "verify-every": {"-1s", "1y", "8785h"}, "remind-after": {"0s", "1h,1h", "2h,1h", "72", "1h,,2h", "8785h"}, "destroy-after": {"-1s", "500ms", "8785h"}, "inbox-retention": {"-1s", "87841h"}, "dead-letter-retention": {"30d"}, "dead-letter-limit": {"-1", "many"}, "dead-letter-size": {"1 GB"}, "fetch-memory": {"0", "8MiB", "2GiB"}, "listen": {"9464", "localhost", ":70000"}, "log-level": {"trace", "INFO"}, "log-format": {"xml"},
	} {
		for _, value := range values {
			_, byFlag := read(t, nil, "--"+name+"="+value)
			_, byEnv := read(t, map[string]string{variable(name): value})
			_, byFile := read(t, nil, "--config", file(t, "c.yaml", name+": "+fmt.Sprintf("%q", value)))
			for place, err := range map[string]error{"flag": byFlag, "environment": byEnv, "file": byFile} {
				s, ok := errors.AsType[*Error](err)
				if !ok {
					t.Errorf("%s=%q by %s: %v, want an Error", name, value, place, err)
					continue
				}
				if s.Setting != name || !strings.Contains(err.Error(), name) || s.Want == "" {
					t.Errorf("%s=%q by %s: the error does not name the setting and what would be right: %v", name, value, place, err)
				}
				if (place == "environment") != strings.Contains(s.Source, variable(name)) || (place == "file") != strings.Contains(s.Source, "c.yaml:1") {
					t.Errorf("%s=%q by %s: the error names another source: %v", name, value, place, err)
				}
			}
		}
	}
}

func TestWrongFiles(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"not YAML":          {"a: [", "is not YAML"},
		"a list":            {"- a", "must contain members"},
		"a text":            {"hello", "must contain members"},
		"two documents":     {"window: 1s\n---\nwindow: 2s", "one YAML document"},
		"unknown member":    {"windows: 1s", `"windows"`},
		"underscores":       {"kafka_brokers: a:1", `did you mean "kafka-brokers"?`},
		"config in itself":  {"config: x", "unknown setting"},
		"twice":             {"window: 1s\nwindow: 2s", "twice"},
		"quoted number":     {`concurrency: "64"`, "whole number"},
		"number for time":   {"window: 30", "time with its unit"},
		"null":              {"kafka-group:", "--kafka-group"},
		"list for a text":   {"kafka-group: [a]", "must be a text"},
		"map for a text":    {"kafka-group: {a: b}", "must be a text"},
		"text for a bool":   {`kafka-tls: "yes"`, "true or false"},
		"a variable":        {"partner-id: ${PARTNER_ID}", "${PARTNER_ID}, which was not replaced"},
		"a shell's":         {"partner-id: a${X:-b}c", "${X:-b}"},
		"of Kubernetes":     {"partner-id: $(PARTNER_ID)", "$(PARTNER_ID)"},
		"of a template":     {"partner-id: '{{ partner_id }}'", "{{ partner_id }}"},
		"in a list":         {"kafka-brokers: ['${BROKER}:9092']", "${BROKER}"},
		"in topics":         {"topic: {shop.invoicebox_invited: '${PREFIX}.invited'}", "${PREFIX}"},
		"in an account":     {"accounts: [{name: a, partner-id: '${PARTNER_ID}', token-file: t}]", "accounts[0].partner-id"},
		"alias":             {"kafka-group: &a x\nkafka-username: *a", "alias"},
		"empty list":        {"kafka-brokers: []", "empty list"},
		"nested list":       {"kafka-brokers: [[a:1]]", "list of texts"},
		"topic of a list":   {"topic: {shop.invoicebox_invited: [a]}", "pairs"},
		"accounts empty":    {"accounts: []", "list of 1"},
		"accounts a map":    {"accounts: {name: x}", "list of 1"},
		"account a text":    {"accounts: [x]", "accounts[0]"},
		"account unknown":   {"accounts: [{name: a, partner-id: p, token-file: t, tokenfile: t}]", `did you mean "token-file"?`},
		"account no name":   {"accounts: [{partner-id: p, token-file: t}]", "must be set"},
		"account bad name":  {"accounts: [{name: a/b, partner-id: p, token-file: t}]", "accounts[0].name"},
		"account limit":     {"accounts: [{name: a, partner-id: p, token-file: t, requests-per-window: 0}]", "accounts[0].requests-per-window"},
		"account store":     {"accounts: [{name: a, partner-id: p, token-file: t, credentials-store: etcd}]", "accounts[0].credentials-store"},
		"account window":    {"accounts: [{name: a, partner-id: p, token-file: t, window: 1}]", "accounts[0].window"},
		"both descriptions": {"partner-id: p\naccounts: [{name: a, partner-id: p, token-file: t}]", "--partner-id"},
		"control character": {"kafka-group: \"a\\u0007\"", "control"},
		"huge":              {"# " + strings.Repeat("x", maxFile), "larger"},
		"a bomb":            {"a: &a [x,x]\nb: &b [*a,*a]\n", "unknown setting"},
	} {
		_, err := read(t, nil, "--config", file(t, "c.yaml", c.doc))
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an Error with %q", name, err, c.want)
		}
	}
	for name, args := range map[string][]string{"--partner-id": {"--partner-id=${PARTNER_ID}"}, "INVOICEBOX_WORKER_PARTNER_ID": nil} {
		if _, err := read(t, map[string]string{"INVOICEBOX_WORKER_PARTNER_ID": "${PARTNER_ID}"}, args...); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "was not replaced") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "missing"), t.TempDir(), os.DevNull} {
		if _, err := read(t, nil, "--config", path); err == nil || !strings.Contains(err.Error(), "--config") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := read(t, map[string]string{"INVOICEBOX_WORKER_TOKEN_FILE": "x"}, "--config", file(t, "c.yaml", "accounts: [{name: a, partner-id: p, token-file: t}]")); err == nil || !strings.Contains(err.Error(), "INVOICEBOX_WORKER_TOKEN_FILE") {
		t.Errorf("accounts in the file and a variable: %v", err)
	}
}

func TestGoodFile(t *testing.T) {
	s, err := read(t, nil, "--config", file(t, "c.yaml", `
kafka-brokers: [a:1, b:2]
kafka-tls: true
partner-id: 0123
window: 1m
start: 2026-01-31T00:00:00Z
topic:
  shop.invoicebox_invited: invited
  shop.invoicebox_activated: activated
`))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.KafkaBrokers, []string{"a:1", "b:2"}) || !s.KafkaTLS || s.PartnerID != "0123" || s.Window != time.Minute ||
		s.Start != "2026-01-31T00:00:00Z" || s.Topics["shop.invoicebox_invited"] != "invited" || len(s.Topics) != 2 {
		t.Errorf("read as %+v", s)
	}
	s, err = read(t, nil, "--topic", "shop.invoicebox_invited=a", "--topic", "shop.invoicebox_activated=b,shop.invoicebox_dead_letter=c", "--kafka-brokers", "a:1, b:2")
	if err != nil || len(s.Topics) != 3 || len(s.KafkaBrokers) != 2 {
		t.Errorf("repeated flags: %v, %+v", err, s)
	}
	if s, err := read(t, nil, "--config", file(t, "c.yaml", "# nothing\n")); err != nil || s.Concurrency != 64 {
		t.Errorf("an empty file: %v", err)
	}
}

// The bounds in the tags can be read, and every check exists.
func TestTags(t *testing.T) {
	checks := validators()
	checks["journal"], checks["topic"] = nil, nil // of the program, and of pairs
	for _, typ := range []reflect.Type{reflect.TypeFor[Worker](), reflect.TypeFor[Account](), reflect.TypeFor[Sandbox]()} {
		for field := range typ.Fields() {
			r := newRule(field.Tag.Get("name"), field.Tag)
			if _, ok := checks[r.check]; r.check != "" && !ok {
				t.Errorf("%s: there is no check %q", r.name, r.check)
			}
			wrong := false
			switch {
			case field.Type == reflect.TypeFor[int]() && r.oneof == "":
				wrong = mustInt(r.min) > mustInt(r.max)
			case field.Type == reflect.TypeFor[time.Duration]():
				wrong = mustDuration(r.min) > mustDuration(r.max)
			case field.Type == reflect.TypeFor[Size]() && r.min != "":
				wrong = mustSize(r.min) > mustSize(r.max)
			}
			if wrong {
				t.Errorf("%s: min above max", r.name)
			}
		}
	}
}

// A program without flags has the defaults of the flags.
func TestDefaultWorker(t *testing.T) {
	w, err := read(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*w, DefaultWorker()); diff != "" {
		t.Error(diff)
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "a: b", "window: 1s", "topic: {a: b}", "accounts: [{name: a}]", "a: [", "? [x]\n: y", "- 1", "\xff", "a: &a [*a]"} {
		f.Add([]byte(s))
	}
	known := []string{"window", "topic", "accounts", "kafka-brokers", "concurrency"}
	f.Fuzz(func(t *testing.T, doc []byte) {
		members, err := parseFile("f.yaml", doc, known)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		var window time.Duration
		var topic map[string]string
		for name, target := range map[string]any{"window": &window, "topic": &topic} {
			if m, ok := members[name]; ok {
				_ = program().assignMember(rule{name: name, min: "1s", max: "1h"}, reflect.ValueOf(target).Elem(), m)
			}
		}
		if window != 0 && (window < time.Second || window > time.Hour) {
			t.Errorf("window %v was taken", window)
		}
		if m, ok := members["accounts"]; ok {
			_, _ = program().readAccounts(m, "f.yaml")
		}
	})
}
