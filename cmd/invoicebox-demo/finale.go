package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// finale says what happened to whom, resolves one reference, and says what to
// try next.
func finale(ctx context.Context, w io.Writer, b *board, s *stage, f flags, took time.Duration) {
	effects := s.sandbox.Effects()
	var twiceSent, twiceInvited int
	for _, a := range effects.Activations {
		if a.Effects > 1 {
			twiceSent++
		}
	}
	for _, i := range effects.Invitations {
		if i.Effects > 1 {
			twiceInvited++
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(w, "\nWhat happened to whom (%d shops, %.1f s, profile %s, seed %d)\n\n", len(b.shops), took.Seconds(), f.Profile, f.Seed)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Story", "Shops", "As told", "What it is about"})
	var strays []*shop
	unlucky := 0
	for _, fate := range fates {
		n, fine := 0, 0
		for _, s := range b.shops {
			if s.fate.name != fate.name {
				continue
			}
			n++
			if s.good() {
				fine++
				if s.end != s.fate.end {
					unlucky++
				}
			} else {
				strays = append(strays, s)
			}
		}
		t.AppendRow(table.Row{fate.name, n, fine, fate.story})
	}
	t.AppendRow(table.Row{"half a record", 1, b.deadLetters, "cannot be read: set aside and announced"})
	t.Render()
	if unlucky > 0 {
		_, _ = fmt.Fprintf(w, "%d of them met a fault that their story does not have, and wait for a person\n", unlucky)
	}
	for _, s := range strays {
		_, _ = fmt.Fprintf(w, "not as told: %s (%s) ended as %q, reason %q\n", s.id, s.fate.name, s.end, s.reason)
	}
	_, _ = fmt.Fprintf(w, "\n%d calls to Invoicebox, at most %d in any %v (the limit is %d)\ncodes spent twice: %d; shops invited twice: %d; overlapping calls: %d\n",
		effects.Requests, most(s.sandbox), window, limit, twiceSent, twiceInvited, effects.Overlaps)
	for _, shop := range b.shops {
		if shop.ref != "" {
			_, _ = fmt.Fprintf(w, "\n%s was announced with %s\n%s\n", shop.id, shop.ref, s.resolve(ctx, shop.ref))
			break
		}
	}
	if !f.Keep {
		_, _ = fmt.Fprint(w, `
Next:  --keep             stays up so that you can look around
       --profile hostile  misbehaves more than the stories ask for
       README.md          how to run the service itself
`)
	}
}

func most(sb *sandbox.Sandbox) int {
	n := 0
	for _, load := range sb.Windows().Accounts {
		n = max(n, load.Most)
	}
	return n
}

// resolve reads the secret behind a reference, as `invoicebox-worker resolve`
// does, and shows just enough of it to recognise.
func (s *stage) resolve(ctx context.Context, text string) string {
	secret, err := s.read(ctx, text)
	if err != nil {
		return "  which does not resolve: " + err.Error()
	}
	return fmt.Sprintf("  merchant %s, token (%d characters, %s…)", secret.MerchantID, len(secret.Token.Reveal()), secret.Token.Reveal()[:4])
}

func (s *stage) read(ctx context.Context, text string) (credentials.Secret, error) {
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
	return credentials.NewSealed(s.keys).Open(row)
}

// stay tells where everything is and waits for Ctrl-C.
func stay(ctx context.Context, w io.Writer, s *stage) {
	_, _ = fmt.Fprintf(w, `
Everything keeps running until Ctrl-C:

  Kafka            %s
  Invoicebox       %s   (admin: %s/requests, /effects, /windows)
  worker           http://%s/metrics
  worker's log     %s

Look around from another terminal:

  go run ./cmd/invoicebox-worker operations list --attention --journal-url sqlite:%s
  go run ./cmd/invoicebox-worker shops show shop-01 --journal-url sqlite:%s
`, s.options.Kafka.Brokers[0], s.api, s.admin, s.metrics, s.logs.Name(), s.journal(), s.journal())
	<-ctx.Done()
}
