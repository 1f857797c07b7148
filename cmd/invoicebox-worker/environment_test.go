package main

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
)

// withEnvironment runs the program in an environment.
func withEnvironment(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environment{stdout: &out, stderr: &errs, environ: environ})
	return code, out.String(), errs.String()
}

// grammar is the program's command line, parsed for one command.
func grammar(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(&commandLine{}, settingsProgram().Mapper(), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// walk visits every command and group.
func walk(node *kong.Node, visit func(*kong.Node)) {
	visit(node)
	for _, c := range node.Children {
		walk(c, visit)
	}
}

func TestEnvironment(t *testing.T) {
	keyset := t.TempDir() + "/keyset.json"
	if code, _, errs := withEnvironment(t, nil, "keys", "create", "--keyset-file", keyset); code != exitDone {
		t.Fatal(errs)
	}
	t.Run("BareNamesAreNotRead", func(t *testing.T) {
		var bare []string
		for _, f := range grammar(t).Model.Flags {
			bare = append(bare, strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))+"=-wrong-")
		}
		for _, args := range [][]string{{"version"}, {"keys", "list", "--keyset-file", keyset}} {
			if code, _, errs := withEnvironment(t, bare, args...); code != exitDone || errs != "" {
				t.Errorf("%v: exit status %d, stderr %q", args, code, errs)
			}
		}
	})
	// A command reads a variable exactly when its tag names the setting.
	t.Run("OnlyTheSettingsInUseAreRead", func(t *testing.T) {
		parser := grammar(t)
		walk(parser.Model.Node, func(command *kong.Node) {
			if command.Type != kong.CommandNode || len(command.Children) > 0 {
				return
			}
			args := strings.Fields(command.Path())
			for _, p := range command.Positional {
				value, _, _ := strings.Cut(p.Tag.Enum, ",")
				args = append(args, cmp.Or(value, "1"))
			}
			for _, f := range command.Flags {
				if f.Required {
					value, _, _ := strings.Cut(cmp.Or(f.Enum, "1"), ",")
					if f.Target.Type() == reflect.TypeFor[time.Duration]() {
						value = "1s"
					}
					args = append(args, "--"+f.Name+"="+value)
				}
			}
			var cli commandLine
			p, err := kong.New(&cli, settingsProgram().Mapper(), kong.Exit(func(int) {}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, err := p.Parse(args)
			if err != nil {
				t.Fatalf("%v: %v", args, err)
			}
			inUse := config.Used(command, parser.Model.Flags)
			for _, f := range parser.Model.Flags {
				if f.Tag.Type != "setting" {
					continue
				}
				_, err := settingsProgram().Load(ctx, config.Used(ctx.Selected(), ctx.Model.Flags), []string{variable(f.Name) + "=\x01"})
				if want := slices.Contains(inUse, f); (err != nil) != want {
					t.Errorf("%v with a wrong %s: %v, want an error: %t", args, variable(f.Name), err, want)
				}
			}
		})
	})
	t.Run("VersionNeverFails", func(t *testing.T) {
		var wrong []string
		for _, f := range grammar(t).Model.Flags {
			wrong = append(wrong, variable(f.Name)+"=\x01")
		}
		if code, _, errs := withEnvironment(t, wrong, "version"); code != exitDone || errs != "" {
			t.Errorf("exit status %d, stderr %q", code, errs)
		}
	})
	t.Run("AFileIsReadForTheSettingsInUse", func(t *testing.T) {
		config := file(t, "c.yaml", "window: soon\naccounts: 7\nkeyset-file: "+keyset+"\n")
		if code, out, errs := withEnvironment(t, []string{"INVOICEBOX_WORKER_CONFIG=" + config}, "keys", "list"); code != exitDone || !strings.Contains(out, "sealing") {
			t.Errorf("exit status %d, stderr %q", code, errs)
		}
		if code, _, errs := withEnvironment(t, []string{"INVOICEBOX_WORKER_CONFIG=" + config}, "run"); code != exitFailed || !strings.Contains(errs, "--window") {
			t.Errorf("exit status %d, stderr %q", code, errs)
		}
	})
	// What Kubernetes injects for a Service named invoicebox-worker, or for one whose name goes on.
	t.Run("NoFlagCollidesWithAService", func(t *testing.T) {
		checked := 0
		walk(grammar(t).Model.Node, func(command *kong.Node) {
			for _, f := range command.Flags {
				checked++
				if config.IsServiceLink(variable(f.Name)) {
					t.Errorf("%s --%s: Kubernetes sets %s for a Service", command.Path(), f.Name, variable(f.Name))
				}
			}
		})
		if checked < 60 {
			t.Fatalf("%d flags were found", checked)
		}
		injected := []string{
			"INVOICEBOX_WORKER_PORT=tcp://10.0.0.1:9464", "INVOICEBOX_WORKER_SERVICE_HOST=10.0.0.1", "INVOICEBOX_WORKER_SERVICE_PORT=9464",
			"INVOICEBOX_WORKER_SERVICE_PORT_HTTP=9464", "INVOICEBOX_WORKER_PORT_9464_TCP=tcp://10.0.0.1:9464", "INVOICEBOX_WORKER_PORT_9464_TCP_ADDR=10.0.0.1",
			"INVOICEBOX_WORKER_PORT_9464_TCP_PORT=9464", "INVOICEBOX_WORKER_PORT_9464_TCP_PROTO=tcp", "INVOICEBOX_WORKER_LISTEN_PORT=tcp://10.0.0.2:1", "INVOICEBOX_WORKER_SOMETHING=x",
		}
		if code, _, errs := withEnvironment(t, injected, "keys", "list", "--keyset-file", keyset); code != exitDone || errs != "" {
			t.Errorf("exit status %d, stderr %q", code, errs)
		}
	})
	t.Run("ANearMissIsAWarning", func(t *testing.T) {
		typed := []string{"INVOICEBOX_WORKER_KEYSETFILE=x", "INVOICEBOX_WORKER_CONCURENCY=4"}
		code, _, errs := withEnvironment(t, typed, "keys", "list", "--keyset-file", keyset)
		if code != exitDone || !strings.Contains(errs, "INVOICEBOX_WORKER_KEYSETFILE") || !strings.Contains(errs, "did you mean INVOICEBOX_WORKER_KEYSET_FILE?") || strings.Contains(errs, "CONCURENCY") {
			t.Errorf("keys list: exit status %d, stderr %q", code, errs)
		}
		if _, _, errs := withEnvironment(t, typed, "run"); !strings.Contains(errs, `"did_you_mean":"INVOICEBOX_WORKER_CONCURRENCY"`) {
			t.Errorf("run: stderr %q", errs)
		}
		if _, out, _ := withEnvironment(t, typed, "check"); !strings.Contains(out, "did you mean INVOICEBOX_WORKER_CONCURRENCY?") {
			t.Errorf("check: %q", out)
		}
	})
}
