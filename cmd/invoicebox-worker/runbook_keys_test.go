package main

import (
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The commands of the pages about keys and about a restore work as they stand there,
// one after the other, beside a worker that runs. Both languages have the same.
func TestRunbookOfKeys(t *testing.T) {
	t.Parallel() // it waits until a key may be dropped
	commands := runbook(t, "../../docs/operations.md", "## Keys")
	russian := runbook(t, "../../docs/ru/operations.md", "## Ключи")
	for i, words := range russian {
		// The text of a reason is in the page's language.
		if at := slices.Index(words, "--reason") + 1; at > 0 && i < len(commands) && at < len(commands[i]) {
			words[at] = commands[i][at]
		}
	}
	if diff := cmp.Diff(commands, russian); diff != "" {
		t.Errorf("the commands of the Russian page are others:\n%s", diff)
	}
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--start", "earliest")
	r.entered("shop-1", "code-1")
	event := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated)
	token := strings.TrimSpace(r.must(append([]string{"resolve", event.Credentials.Ref}, r.beside()...)...))
	old := r.keys()["sealing primary"].ID
	for _, folder := range []string{"backup", "drill"} {
		if err := os.Mkdir(r.path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.write("worker.yaml", settingsOf(r.service()))
	d := newDrill(r)
	var printed []string
	for _, words := range commands {
		for i, word := range words {
			switch {
			case word == "worker.yaml" || word == "keyset.json":
				words[i] = r.path(word)
			case word == "OLD-KEY":
				words[i] = old
			case strings.HasPrefix(word, "/backup/") || strings.HasPrefix(word, "/drill/"):
				words[i] = r.path(word)
			case strings.HasPrefix(word, "sqlite:/drill/"):
				words[i] = "sqlite:" + r.path(strings.TrimPrefix(word, "sqlite:"))
			}
		}
		switch {
		case words[0] == "cp":
			doc, err := os.ReadFile(words[1])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(words[2], doc, 0o600); err != nil {
				t.Fatal(err)
			}
		case words[0] == "bin/invoicebox-sandbox", words[0] == "echo", words[0] == "kcat", words[1] == "run":
			d.perform(words)
		case words[1] == "keys" && words[2] != "list":
			// As a person does: until the workers have the file, and the values
			// are sealed.
			code, errs := exitFailed, ""
			for began := time.Now(); code != exitDone && time.Since(began) < 2*time.Minute; <-time.After(500 * time.Millisecond) {
				if code, _, errs = r.command(words[1:]...); code == exitUsage {
					break
				}
			}
			if code != exitDone {
				t.Fatalf("%v: %s", words, errs)
			}
		case words[1] == "resolve":
			printed = append(printed, strings.TrimSpace(r.must(words[1:]...)))
		default:
			r.must(words[1:]...)
		}
	}
	if want := []string{token, d.box.TokenOf("drill-1"), token}; !slices.Equal(printed, want) || slices.Contains(want, "") {
		t.Errorf("resolve prints %d tokens, which are not those of the shops", len(printed))
	}
	if n := len(d.box.Effects().Activations); n != 1 {
		t.Errorf("the drill has sent %d codes", n)
	}
	if got := r.keys(); len(got) != 2 || got["sealing primary"].ID == old {
		t.Errorf("%+v", got)
	}
	if n := len(r.sandbox.Effects().Activations); n != 1 {
		t.Errorf("%d codes were sent outside of the drill", n)
	}
	for _, worker := range []*running{d.worker, w} {
		if code := worker.end(); code != exitDone {
			t.Error(code)
		}
	}
}

// A drill is the environment of a trial restore: an empty broker whose topics have the names
// of the real ones, and a simulator.
type drill struct {
	*rig
	box    *sandbox.Sandbox
	worker *running
}

func newDrill(r *rig) *drill {
	r.t.Helper()
	own := *r
	d := &drill{rig: &own}
	own.cluster = kafkatest.Embedded(r.t)
	o := calm()
	o.Accounts = []sandbox.Account{{PartnerID: r.sandbox.Accounts()[0].PartnerID, Token: "drill-token"}}
	box, err := sandbox.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	d.box = box
	own.api = httptest.NewUnstartedServer(box.API())
	r.t.Cleanup(own.api.Close)
	own.journal = "sqlite:" + r.path("drill/journal.db")
	var flags []string
	changed := map[string]string{
		"--keyset-file": r.path("drill/keyset.json"), "--token-file": r.write("drill/token", "drill-token\n"), "--invoicebox-url": "http://" + own.api.Listener.Addr().String(),
	}
	service := own.service()
	for i := 0; i+1 < len(service); i += 2 {
		name, value := service[i], service[i+1]
		if to, ok := changed[name]; ok {
			value = to
		}
		if name != "--start" { // the journal has begun
			flags = append(flags, name, value)
		}
	}
	flags = append(flags, "--credentials-store", "sealed", "--window", "1s", "--slack", "1s", "--request-deadline", "1s", "--lease", "2s", "--quiet-period", "2s")
	r.write("drill/drill.yaml", settingsOf(flags))
	return d
}

// perform simulates a command that is not the worker's or that does not end.
func (d *drill) perform(words []string) {
	d.t.Helper()
	switch words[0] {
	case "bin/invoicebox-sandbox":
		d.api.Start()
	case "echo":
		d.cluster.Produce(d.t, d.topics[schemas.TypeCodeEntered], []kafkago.Message{{Key: []byte("drill-1"), Value: []byte(words[1])}})
	case "kcat":
		if got := d.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated); got.ShopID != "drill-1" || got.Credentials.Ref != "ref+sealed://journal/invoicebox/default/drill-1?version=1" {
			d.t.Errorf("the drill's result is %+v", got)
		}
	default:
		d.worker = d.startWith(words[1:])
	}
}

// runbook lists the commands of a section, in the order of the page.
func runbook(t *testing.T, page, heading string) (commands [][]string) {
	t.Helper()
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(doc), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	inside := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inside = strings.HasPrefix(line, "```sh")
			continue
		}
		if inside && line != "" {
			commands = append(commands, shellWords(line))
		}
	}
	if len(commands) < 10 {
		t.Fatalf("%s has only %d commands under %q", page, len(commands), heading)
	}
	return commands
}

// settingsOf writes flags as a file for --config.
func settingsOf(flags []string) string {
	var b strings.Builder
	topics := ""
	for i := 0; i+1 < len(flags); i += 2 {
		name := strings.TrimPrefix(flags[i], "--")
		if name == "topic" {
			from, to, _ := strings.Cut(flags[i+1], "=")
			topics += "  " + from + ": " + to + "\n"
			continue
		}
		b.WriteString(name + ": " + flags[i+1] + "\n")
	}
	if topics != "" {
		b.WriteString("topic:\n" + topics)
	}
	return b.String()
}
