package virtual

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// published: what the journal froze is in the topics, to the letter and often
// enough; nothing else is; and a shop's sequences rise.
func (g *judge) published() {
	seen := map[uuid.UUID]string{}
	for typ, list := range g.results {
		highest := map[string]int64{}
		for _, m := range list {
			e, err := schemas.DecodeOutput(fromKafka(m), schemas.Strict)
			if err != nil {
				g.Errorf("%s/%d/%d: %v", m.Topic, m.Partition, m.Offset, err)
				continue
			}
			id, err := uuid.Parse(e.ID)
			if err != nil {
				g.Errorf("event id %q: %v", e.ID, err)
			}
			whole := wholeOf(m)
			if first, ok := seen[id]; ok {
				if first != whole {
					g.Errorf("%s %s was published with two contents", typ, id)
				}
				continue
			}
			seen[id] = whole
			if typ == schemas.TypeDeadLetter {
				continue
			}
			if e.Sequence <= highest[e.Subject] {
				g.Errorf("%s of %s: sequence %d after %d", typ, e.Subject, e.Sequence, highest[e.Subject])
			}
			highest[e.Subject] = e.Sequence
			out, ok := g.output[id]
			if !ok || out.Type != typ || out.Sequence != e.Sequence || string(out.Value) != string(m.Value) {
				g.Errorf("%s %s of %s is not what the journal says", typ, id, e.Subject)
			}
		}
	}
	sequences := map[string][]int64{}
	for shop, h := range g.history {
		for _, o := range h.Output {
			if _, ok := seen[o.Event]; !ok || !o.Published {
				g.Errorf("%s: %s %s is not in its topic", shop, o.Type, o.Event)
			}
			sequences[shop] = append(sequences[shop], o.Sequence)
		}
		slices.Sort(sequences[shop])
		if len(slices.Compact(slices.Clone(sequences[shop]))) != len(sequences[shop]) {
			g.Errorf("%s: a sequence was given twice: %v", shop, sequences[shop])
		}
	}
}

// wholeOf is all of a record that a reader sees, in one text.
func wholeOf(m kafkago.Message) string {
	var b strings.Builder
	b.Write(m.Key)
	b.Write(m.Value)
	for _, h := range m.Headers {
		b.WriteString("\x00" + h.Key + "\x00")
		b.Write(h.Value)
	}
	return b.String()
}

// references: each resolves to a token that the sandbox issued to this shop,
// for the merchant that the event names.
func (g *judge) references() {
	store := credentials.NewSealed(g.keys.Bind(g.journal.Origin().String()))
	current := map[string]string{}
	for _, m := range g.results[schemas.TypeActivated] {
		e, err := schemas.DecodeOutput(fromKafka(m), schemas.Strict)
		if err != nil {
			continue // told already
		}
		a := e.Data.(schemas.Activated)
		ref, err := schemas.ParseReference(a.Credentials.Ref)
		g.must(err)
		row, err := g.journal.Credential(context.Background(), journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
		if err != nil || ref.Shop != a.ShopID {
			g.Errorf("%s: %s does not resolve: %v", a.ShopID, ref, err)
			continue
		}
		secret, err := store.Open(row)
		if err != nil {
			g.Errorf("%s: %s does not open: %v", a.ShopID, ref, err)
			continue
		}
		code := ""
		for c := range g.byCode {
			if t := g.byCode[c]; t.kind == journal.Activate && g.box.TokenOf(c) == secret.Token.Reveal() {
				code = c
			}
		}
		if code == "" || g.story.codes[code] == "" {
			g.Errorf("%s: %s resolves to a token that was not issued", a.ShopID, ref)
			continue
		}
		if want := g.box.MerchantOf(code); secret.MerchantID != want || a.MerchantID != want {
			g.Errorf("%s: merchant %s announced, %s stored, %s issued", a.ShopID, a.MerchantID, secret.MerchantID, want)
		}
		current[a.ShopID] = code
	}
	g.spent(current)
}

// spent: a code that was spent ends as its shop's activation, or a person hears
// of it.
func (g *judge) spent(activated map[string]string) {
	for value, t := range g.byCode {
		if t.kind != journal.Activate || t.effects == 0 || g.story.crossed[value] {
			continue
		}
		ok := activated[t.shop] != ""
		for _, o := range g.history[t.shop].Operations {
			ok = ok || o.Kind == journal.Activate && o.State == journal.Attention
		}
		if !ok {
			g.Errorf("the code %s was spent, and nobody hears of it:%s", value, words(t.requests))
		}
	}
}

// answers: what the sandbox answered whole, to a worker that lived on, is in
// the journal.
func (g *judge) answers() {
	known := map[string]bool{}
	for _, h := range g.history {
		for _, o := range h.Operations {
			for _, a := range o.Tries {
				if a.End != nil {
					known[a.End.RequestID] = true
				}
			}
		}
	}
	for value, t := range g.byCode {
		for _, r := range t.requests {
			at := r.Time.Add(r.Took)
			whole := r.Status == 200 && r.Fault == "" && r.Took < 25*time.Second
			if whole && !known[r.RequestID] && !g.disturbed(at) {
				g.Errorf("%s: an answer was lost:%s", value, words([]sandbox.Request{r}))
			}
		}
	}
}

// disturbed tells whether a worker died soon after an instant, or was frozen.
func (w *world) disturbed(at time.Time) bool {
	for _, death := range w.deaths {
		if !death.Before(at) && death.Sub(at) < time.Minute {
			return true
		}
	}
	for _, f := range w.frozen {
		if !at.Before(f[0]) && (f[1].IsZero() || at.Before(f[1].Add(time.Second))) {
			return true
		}
	}
	return false
}

func fromKafka(m kafkago.Message) schemas.Message {
	out := schemas.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Time: m.Time, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	return out
}
