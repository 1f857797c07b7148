package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/keyset"
)

// read parses a command line as run does, and loads the settings.
func read(t *testing.T, env map[string]string, args ...string) (*settings, error) {
	t.Helper()
	var cli commandLine
	parser, err := kong.New(&cli, kong.Name("invoicebox-worker"), settingsProgram().Mapper(), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(append([]string{"run"}, args...))
	if err != nil {
		return nil, err
	}
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	cli.given, err = settingsProgram().Load(ctx, config.Used(ctx.Selected(), ctx.Model.Flags), environ)
	return &cli.settings, err
}

func variable(setting string) string { return settingsProgram().Variable(setting) }

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAccountsOfTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"t1": "one", "t2": "two", "t3": "one", "key": "k"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (keyset.File{Path: filepath.Join(dir, "keyset")}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	load := func(accounts string) (app.Options, error) {
		doc := "kafka-brokers: a:1\nkeyset-file: " + dir + "/keyset\nwindow: 20s\naccounts:\n" + strings.ReplaceAll(accounts, "@", dir+"/")
		s, err := read(t, nil, "--config", file(t, "c.yaml", doc))
		if err != nil {
			return app.Options{}, err
		}
		return s.options(nil)
	}
	o, err := load("  - {name: default, partner-id: p1, token-file: @t1, signing-key-file: @key, requests-per-window: 7}\n  - {name: second, partner-id: p2, token-file: @t2, window: 10s}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Accounts) != 2 || o.Accounts[0].RequestsPerWindow != 7 || o.Accounts[0].Window != 20*time.Second ||
		o.Accounts[1].RequestsPerWindow != 100 || o.Accounts[1].Window != 10*time.Second ||
		o.Accounts[0].Token().Reveal() != "one" || o.Accounts[0].Signing == nil || o.Accounts[1].Signing != nil {
		t.Errorf("accounts read as %+v", o.Accounts)
	}
	for name, accounts := range map[string]string{
		"accounts[1].name":       "  - {name: a, partner-id: p1, token-file: @t1}\n  - {name: a, partner-id: p2, token-file: @t2}\n",
		"accounts[1].partner-id": "  - {name: a, partner-id: p1, token-file: @t1}\n  - {name: b, partner-id: p1, token-file: @t2}\n",
		"accounts[1].token-file": "  - {name: a, partner-id: p1, token-file: @t1}\n  - {name: b, partner-id: p2, token-file: @t3}\n",
		"accounts[0].token-file": "  - {name: a, partner-id: p1, token-file: @missing}\n",
	} {
		o, err := load(accounts)
		if err == nil {
			err = app.Run(t.Context(), o)
		}
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), `"one"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A wrong journal URL is refused where it is read, and its password is not shown.
func TestJournalURL(t *testing.T) {
	for _, value := range []string{"sqlite", "sqlite:", "sqlite::memory:", "postgres://u:s3cret@h/db", "postgres://h/db?password=s3cret", "postgres://h/db#x", "mysql://x", "sqlite://x", "sqlite:a?mode=memory"} {
		_, byFlag := read(t, nil, "--journal-url="+value)
		_, byVariable := read(t, map[string]string{variable("journal-url"): value})
		for place, err := range map[string]error{"flag": byFlag, "variable": byVariable} {
			if e, ok := errors.AsType[*config.Error](err); !ok || e.Setting != "journal-url" || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s by %s: %v", value, place, err)
			}
		}
	}
}

func TestHelpShowsEverySetting(t *testing.T) {
	var out, errs bytes.Buffer
	env := environment{stdout: &out, stderr: &errs}
	if code := run(t.Context(), []string{"--help"}, env); code != exitDone {
		t.Fatalf("exit status %d: %s", code, &errs)
	}
	typ := reflect.TypeFor[config.Worker]()
	text := strings.Join(strings.Fields(out.String()), " ")
	for field := range typ.Fields() {
		tag := field.Tag
		if name := tag.Get("name"); name != "" && !strings.Contains(text, "--"+name) {
			t.Errorf("--help does not show --%s", name)
		}
		if d := tag.Get("default"); d != "" && !strings.Contains(text, "(default "+d+")") {
			t.Errorf("--help does not show the default of --%s", tag.Get("name"))
		}
	}
}
