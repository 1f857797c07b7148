package main

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/config"
)

var flagLine = regexp.MustCompile(`(?m)^ {2,6}(?:-\w, )?--([a-z-]+)`)

// A command's help shows its own flags first, and no setting that it does not
// use; it takes all of them all the same.
func TestHelpOfACommand(t *testing.T) {
	kafka := []string{
		"kafka-brokers", "kafka-tls", "kafka-ca-file", "kafka-cert-file", "kafka-key-file", "kafka-sasl-mechanism",
		"kafka-username", "kafka-password-file",
	}
	var all []string
	for field := range reflect.TypeFor[config.Worker]().Fields() {
		if name := field.Tag.Get("name"); name != "" {
			all = append(all, name)
		}
	}
	wraps := []string{
		"vault-address", "vault-namespace", "vault-ca-file", "vault-token-file", "vault-role-id-file", "vault-secret-id-file",
		"vault-kubernetes-role", "vault-jwt-role", "vault-jwt-file", "vault-auth-mount",
	}
	for command, want := range map[string][]string{
		"version":                    {"help", "output"},
		"operations":                 {"help"},
		"operations show":            {"help", "output", "config", "journal-url"},
		"operations list":            {"help", "output", "account", "shop", "kind", "state", "attention", "all", "limit", "after", "config", "journal-url"},
		"operations close":           {"help", "output", "actor", "reason", "wait", "all", "account", "note", "yes", "config", "journal-url", "keyset-file"},
		"operations set-credentials": {"help", "output", "actor", "reason", "wait", "merchant-id", "shop-token-file", "config", "journal-url", "keyset-file"},
		"accounts pause":             {"help", "output", "actor", "reason", "wait", "config", "journal-url", "keyset-file"},
		"shops show":                 {"help", "output", "account", "config", "journal-url"},
		"accounts list":              {"help", "output", "config", "journal-url"},
		"dead-letters list":          {"help", "output", "limit", "after", "reason", "from-topic", "account", "shop", "since", "until", "open", "config", "journal-url"},
		"dead-letters show":          {"help", "output", "reveal", "actor", "note", "config", "journal-url", "keyset-file"},
		"dead-letters export":        {"help", "reason", "from-topic", "account", "shop", "since", "until", "open", "reveal", "actor", "note", "config", "journal-url", "keyset-file"},
		"dead-letters purge":         {"help", "output", "reason", "from-topic", "account", "shop", "since", "until", "older-than", "yes", "actor", "note", "config", "journal-url"},
		"dead-letters replay":        {"help", "output", "reason", "from-topic", "account", "shop", "since", "until", "all", "dry-run", "rate", "actor", "note", "config", "journal-url"},
		"keys create":                {"help", "output", "config", "keyset-file", "journal-url"},
		"keys list":                  {"help", "output", "config", "keyset-file", "journal-url"},
		"resolve":                    {"help", "output", "actor", "reason", "config", "journal-url", "keyset-file", "vault-address", "vault-namespace", "vault-ca-file", "vault-mount", "vault-token-file", "vault-role-id-file", "vault-secret-id-file", "vault-kubernetes-role", "vault-jwt-role", "vault-jwt-file", "vault-auth-mount"},
		"topics create":              slices.Concat([]string{"help", "output", "partitions", "replication", "retention", "dry-run", "config"}, kafka, []string{"topic"}),
		"check":                      slices.Concat([]string{"help", "output"}, all),
		"journal backup":             {"help", "output", "config", "journal-url"},
		"journal migrate":            {"help", "output", "from", "to"},
		"journal recover":            slices.Concat([]string{"help", "output", "force", "accept-loss"}, all),
		"run":                        slices.Concat([]string{"help", "output", "dry-run"}, all),
	} {
		if slices.Contains(want, "keyset-file") && !slices.Contains(want, "keyset-wrap") {
			want = append(want, "keyset-wrap") // with which its settings come
			for _, name := range wraps {
				if !slices.Contains(want, name) {
					want = append(want, name)
				}
			}
		}
		code, out, errs := execute(t.Context(), append(strings.Fields(command), "--help")...)
		var shown []string
		for _, m := range flagLine.FindAllStringSubmatch(out, -1) {
			shown = append(shown, m[1])
		}
		own := len(want)
		if i := slices.Index(want, "config"); i >= 0 {
			own = i
		}
		if code != exitDone || len(shown) < own || !slices.Equal(shown[:own], want[:own]) {
			t.Errorf("%s: exit status %d, %q does not begin with %q %s", command, code, shown, want[:own], errs)
		}
		slices.Sort(shown)
		slices.Sort(want)
		if !slices.Equal(shown, want) {
			t.Errorf("%s shows %q, want %q", command, shown, want)
		}
	}
	if code, _, errs := execute(t.Context(), "version", "--window", "1s", "--kafka-brokers", "a:1"); code != exitDone {
		t.Errorf("version with settings: %d %s", code, errs)
	}
}

func TestUsageNamesTheCommand(t *testing.T) {
	for command, want := range map[string]string{
		"operations show":         "operations show needs an <id>: the operation's id, as listed and as the events' operationid; see invoicebox-worker operations show --help",
		"shops show":              "shops show needs a <shop>: the shop's id; see invoicebox-worker shops show --help",
		"dead-letters":            "dead-letters needs a command: list or show or export or purge or replay; see invoicebox-worker dead-letters --help",
		"topics":                  "topics needs a command: create; see invoicebox-worker topics --help",
		"operations show --bogus": "unknown flag --bogus; see invoicebox-worker operations show --help",
		"bogus":                   "unexpected argument bogus; see invoicebox-worker --help",
	} {
		code, _, errs := execute(t.Context(), strings.Fields(command)...)
		if code != exitUsage || errs != "invoicebox-worker: "+want+"\n" {
			t.Errorf("%s: exit status %d: %s", command, code, errs)
		}
	}
}
