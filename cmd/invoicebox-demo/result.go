package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// printResult prints what happened to the shops, resolves one reference, and prints what to
// try next.
//
// It reports whether the worker kept its guarantees.
func printResult(ctx context.Context, w *output, b *progress, s *environment, f flags, took time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.printTable(w, widthOf(w.w), f, took)
	held := b.printGuarantees(w, s.sandbox.Effects(), s.sandbox.Requests(), most(s.sandbox))
	for _, shop := range b.shops {
		if shop.ref != "" {
			_, _ = fmt.Fprintf(w, "\n%s was announced with\n  %s\n%s\n", shop.id, shop.ref, s.resolve(ctx, shop.ref))
			break
		}
	}
	if !f.Keep {
		_, _ = fmt.Fprint(w, `
Next:  --keep             stays up so that you can look around
       --profile hostile  misbehaves more than the scenarios ask for
       README.md          how to run the service itself
`)
	}
	return held
}

// printGuarantees prints how often what must never happen did, and what may happen.
func (b *progress) printGuarantees(w io.Writer, effects sandbox.Effects, requests []sandbox.Request, most int) bool {
	spentTwice, mailedTwice, mailedAgain := 0, 0, 0
	for _, a := range effects.Activations {
		if a.Effects > 1 {
			spentTwice++
		}
	}
	for _, i := range effects.Invitations {
		switch {
		case i.Effects < 2:
		case b.inDoubt(requests, i.Identifier):
			mailedAgain++
		default:
			mailedTwice++
		}
	}
	_, _ = fmt.Fprintf(w, "\n%d calls to Invoicebox, at most %d in any %v (the limit is %d)\ncodes spent twice: %d; e-mails sent twice: %d; overlapping calls: %d\n",
		effects.Requests, most, window, limit, spentTwice, mailedTwice, effects.Overlaps)
	if mailedAgain > 0 {
		_, _ = fmt.Fprintf(w, "e-mails sent again because no clear answer came to the first: %d, by design:\n  a second e-mail does no harm, a shop without one waits for ever\n", mailedAgain)
	}
	if !b.killedAt.IsZero() {
		_, _ = fmt.Fprintf(w, "the worker was killed once, with %s under way, and went on from its journal\n", counted(b.cuts(requests), "call"))
	}
	return spentTwice+mailedTwice+effects.Overlaps == 0 && most <= limit
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (b *progress) cuts(requests []sandbox.Request) int {
	n := 0
	for _, q := range requests {
		if q.Operation != "check" && b.wasCut(q) {
			n++
		}
	}
	return n
}

// inDoubt says whether a request for an address had no answer, or one that does
// not say whether the e-mail was sent, or died with the worker.
func (b *progress) inDoubt(requests []sandbox.Request, address string) bool {
	for _, q := range requests {
		if q.Subject == address && (q.Status == 0 || q.Status == 408 || q.Status >= 500 || q.Fault != "" && q.Fault != "limit" || b.wasCut(q)) {
			return true
		}
	}
	return false
}

// printTable prints the table of scenarios, as wide as there is room for.
func (b *progress) printTable(w io.Writer, width int, f flags, took time.Duration) {
	_, _ = fmt.Fprintf(w, "\nResults (%d shops, %.1f s, profile %s, seed %d)\n\n", len(b.shops), took.Seconds(), f.Profile, f.Seed)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	const others = 40 // what all but the last column take
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 4, WidthMax: max(20, width-others), WidthMaxEnforcer: text.WrapSoft}})
	t.AppendHeader(table.Row{"Scenario", "Shops", "Expected", "Description"})
	var unexpected []*shop
	unlucky, under := 0, 0
	for _, scenario := range scenarios {
		n, fine := 0, 0
		for _, s := range b.shops {
			if s.scenario.name != scenario.name {
				continue
			}
			n++
			if b.excused(s, f) {
				under++
				continue
			}
			if s.good() {
				fine++
				if s.end != s.scenario.end {
					unlucky++
				}
			} else {
				unexpected = append(unexpected, s)
			}
		}
		t.AppendRow(table.Row{scenario.name, n, fine, scenario.description})
	}
	t.AppendRow(table.Row{"half a record", 1, b.deadLetters, "cannot be read: set aside and announced"})
	t.Render()
	if unlucky > 0 {
		_, _ = fmt.Fprintf(w, "%d of them met a fault that their scenario does not have, and wait for an operator\n", unlucky)
	}
	if under > 0 {
		_, _ = fmt.Fprintf(w, "%d are still on their way: Invoicebox fails so often that the account backs off\n", under)
	}
	for _, s := range unexpected {
		_, _ = fmt.Fprintf(w, "not as expected: %s (%s) ended as %q, reason %q\n", s.id, s.scenario.name, s.end, s.reason)
	}
	cut := 0
	for _, s := range b.shops {
		cut += s.extra
	}
	if cut > 0 {
		_, _ = fmt.Fprintf(w, "%d of them lost the answer when the worker was killed, and entered another code\n", cut)
	}
}

func most(sb *sandbox.Sandbox) int {
	n := 0
	for _, load := range sb.Windows().Accounts {
		n = max(n, load.Peak)
	}
	return n
}

// resolve reads the secret behind a reference, as `invoicebox-worker resolve`
// does, and shows just enough of it to recognise.
func (s *environment) resolve(ctx context.Context, text string) string {
	secret, err := s.read(ctx, text)
	if err != nil {
		return "  which does not resolve: " + err.Error()
	}
	return fmt.Sprintf("  merchant %s, token (%d characters, %s…)", secret.MerchantID, len(secret.Token.Reveal()), secret.Token.Reveal()[:4])
}

func (s *environment) read(ctx context.Context, text string) (credentials.Secret, error) {
	ref, err := schemas.ParseReference(text)
	if err != nil {
		return credentials.Secret{}, err
	}
	j, err := sqlite.Open(ctx, sqlite.Options{Path: s.journal(), ReadOnly: true})
	if err != nil {
		return credentials.Secret{}, err
	}
	defer func() { _ = j.Close() }()
	row, err := j.Credential(ctx, journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
	if err != nil {
		return credentials.Secret{}, err
	}
	return credentials.NewSealed(app.BindKeys(j, s.keys)).Open(row)
}

// stay prints where everything is and waits for Ctrl-C.
func stay(ctx context.Context, w io.Writer, s *environment) {
	metrics, _ := s.metrics.Load().(string)
	reference := ""
	if j, err := sqlite.Open(ctx, sqlite.Options{Path: s.journal(), ReadOnly: true}); err == nil {
		row, err := j.Credential(ctx, journal.ShopKey{Account: "default", Shop: "shop-01"}, 1)
		if err == nil {
			reference = row.Reference
		}
		_ = j.Close()
	}
	_, _ = fmt.Fprintf(w, `
Everything keeps running until Ctrl-C:

  Kafka            %s
  Invoicebox       %s   (admin: %s/requests, /effects, /windows)
  worker           http://%s/metrics
  worker's log     %s

Look around from another terminal:

  export INVOICEBOX_WORKER_JOURNAL_URL=sqlite:%s
  export INVOICEBOX_WORKER_KEYSET_FILE=%s
  go run ./cmd/invoicebox-worker operations list --attention
  go run ./cmd/invoicebox-worker dead-letters list
  go run ./cmd/invoicebox-worker shops show shop-01
  go run ./cmd/invoicebox-worker resolve '%s#/token'
`, s.worker.Brokers[0], s.api, s.admin, metrics, s.log(), s.journal(), s.keyset(), reference)
	<-ctx.Done()
}
