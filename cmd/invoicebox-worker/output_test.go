package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/testutil/kafkatest"
)

// An answer that could not be written is a failure, in every form of every
// command that can be tried without a service.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.selected("s1", "a@b.example")
	r.results("shop.invoicebox_invited", 1)
	w.end()
	commands := [][]string{
		{"--help"}, {"run", "--help"}, {"operations", "list", "--help"}, {"version"}, {"version", "--output", "json"},
		{"keys", "list"}, {"keys", "list", "--output", "json"}, {"operations", "list", "--all"}, {"operations", "list", "--all", "--output", "json"},
		{"accounts", "list"}, {"shops", "show", "s1"}, {"dead-letters", "list"}, {"journal", "backup", r.path("copy.db")},
	}
	for _, args := range commands {
		if args[0] != "--help" && args[0] != "version" && args[len(args)-1] != "--help" {
			args = append(slices.Clone(args), r.beside()...)
		}
		var errs bytes.Buffer
		code := run(t.Context(), args, environment{stdout: failing{}, stderr: &errs})
		if code != exitFailed || !strings.Contains(errs.String(), "cannot write to standard output: no space left on device") {
			t.Errorf("%v: exit status %d, %q", args, code, &errs)
		}
	}
	// And as a process, to a device that is always full.
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full: ", err)
	}
	defer func() { _ = full.Close() }()
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"version"}, environment{stdout: full, stderr: &errs}); code != exitFailed || errs.Len() == 0 {
		t.Errorf("/dev/full: exit status %d, %q", code, &errs)
	}
}

// hiding are characters that turn or hide text.
const hiding = "\u202e\u200b\u2066\ufeff\u3164"

func TestHiddenCharacters(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	shop := "s1" + hiding + "exe"
	r.selected(shop, "a@b.example")
	r.results("shop.invoicebox_invited", 1)
	w.end()
	outputs := map[string]string{"the log": w.log.String()}
	id := strings.TrimSpace(r.must(append([]string{"operations", "list", "--all", "--output", "json"}, r.beside()...)...))
	_, id, _ = strings.Cut(id, `"id": "`)
	id, _, _ = strings.Cut(id, `"`)
	for _, args := range [][]string{
		{"operations", "list", "--all"}, {"operations", "show", id}, {"shops", "show", shop}, {"operations", "list", "--all", "--shop", shop},
		{"operations", "list", "--all", "--output", "json"}, {"shops", "show", shop, "--output", "json"}, {"shops", "show", "other" + hiding}, {"bogus" + hiding},
	} {
		_, out, errs := r.command(append(slices.Clone(args), r.beside()...)...)
		outputs[strings.Join(args, " ")] = out + errs
	}
	for from, text := range outputs {
		if strings.ContainsAny(text, hiding) {
			t.Errorf("%+q shows hidden characters: %+q", from, text)
		}
		if from != "the log" && !strings.Contains(text, `\u202e`) {
			t.Errorf("%+q does not show them as escapes: %s", from, text)
		}
	}
}

// Only a terminal has a width; ids are copied and searched elsewhere.
func TestPageWidth(t *testing.T) {
	long := strings.Repeat("shop-", 60)
	var out bytes.Buffer
	if err := (outputFlag{Output: "table"}).write(&checkedOutput{Writer: &out}, nil, func(w io.Writer) {
		printTable(w, []any{"shop", "other"}, [][]any{{long, long}}, "")
	}); err != nil || strings.Count(out.String(), long) != 2 {
		t.Errorf("%v, a value was cut: %s", err, &out)
	}
	narrow := &page{width: 80}
	printTable(narrow, []any{"shop", nowrap("other")}, [][]any{{"店" + long + "店", "店店店"}}, "")
	if text := narrow.String(); !strings.Contains(text, "…") || strings.Contains(text, long) {
		t.Errorf("a value was not cut: %s", text)
	}
}

// Every command with a table or a document writes through outputFlag.
func TestEveryCommandHasOutput(t *testing.T) {
	walk(grammar(t).Model.Node, func(command *kong.Node) {
		if command.Type != kong.CommandNode || len(command.Children) > 0 || command.Name == "run" || command.Name == "completion" || command.Name == "export" {
			return // export prints JSON lines only
		}
		for _, f := range command.Flags {
			if f.Name == "output" {
				return
			}
		}
		t.Errorf("%s has no --output", command.Path())
	})
}
