package virtual

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/schemas"
)

// What becomes of an input record. It is written into a header that the worker
// does not read.
const (
	taken   = "taken"   // an event for the inbox, or the repeat of one
	dead    = "dead"    // a dead letter
	ignored = "ignored" // none of our business
	kind    = "simulated-kind"
)

// An input is one record that the platform sends.
type input struct {
	at      time.Duration
	topic   string
	message kafkago.Message
}

// A story is what happens, all of it drawn from a seed.
type story struct {
	shops   []string
	codes   map[string]string // code → the shop that it was issued for
	inputs  []input
	crossed map[string]bool // codes that were entered for another shop, too
	events  int             // that the inbox takes
}

// Words that values begin with, so that the sandbox plays the fault of the name.
var (
	addressWords = []string{"rejected-", "conflict-", "lost-answer-", "error503-", "error503-after-", "error500-", "error500-after-", "reset-", "reset-after-", "limited-", "timeout408-", "slow-40-", "slow-", "drip-", "html-", "cut-headers-", "half-body-", "forbidden-"}
	codeWords    = []string{"rejected-", "expired-", "used-", "lost-answer-", "error503-", "error503-after-", "error500-", "error500-after-", "reset-", "reset-after-", "limited-", "timeout408-", "slow-40-", "slow-", "drip-", "html-", "cut-headers-", "half-body-", "broken-json-", "pending-token-", "bad-token-", "null-user-", "no-token-", "forbidden-"}
)

// A teller draws a story.
type teller struct {
	*story
	rnd  *rand.Rand
	span time.Duration
	ids  int
}

func tell(rnd *rand.Rand, shops int, span time.Duration) *story {
	t := &teller{story: &story{codes: map[string]string{}, crossed: map[string]bool{}}, rnd: rnd, span: span}
	for i := range shops {
		t.shop(fmt.Sprintf("shop-%02d", i))
	}
	for range rnd.IntN(4) {
		t.garbage()
	}
	slices.SortStableFunc(t.inputs, func(a, b input) int { return cmp.Compare(a.at, b.at) })
	return t.story
}

func (t *teller) chance(percent int) bool { return t.rnd.IntN(100) < percent }

// some gives a time within the span, or a little after another.
func (t *teller) some() time.Duration { return time.Duration(t.rnd.Int64N(int64(t.span))) }

func (t *teller) after(at time.Duration) time.Duration {
	return min(at+time.Duration(t.rnd.ExpFloat64()*float64(t.span)/6), t.span)
}

func (t *teller) word(list []string, percent int) string {
	if !t.chance(percent) {
		return ""
	}
	return list[t.rnd.IntN(len(list))]
}

func (t *teller) shop(shop string) {
	t.shops = append(t.shops, shop)
	at := t.some()
	if t.chance(90) {
		email := t.word(addressWords, 20) + shop + "@shops.example"
		t.selected(at, shop, email)
		if t.chance(15) {
			at = t.after(at)
			t.selected(at, shop, "new-"+email)
		}
		if t.chance(10) {
			gone := t.after(at)
			t.add(gone, schemas.TypeProviderSelected, shop, ignored, fmt.Sprintf(`{"shopId":%q,"provider":"other","email":%q}`, shop, email))
			if t.chance(50) {
				t.selected(t.after(gone), shop, email)
			}
		}
		if t.chance(20) {
			t.selected(t.after(at), shop, email)
		}
	}
	for n := range 3 {
		if !t.chance([]int{90, 25, 25}[n]) {
			return
		}
		at = t.after(at)
		if t.chance(10) {
			at = t.some()
		}
		code := fmt.Sprintf("%s%s-%d", t.word(codeWords, 25), shop, n)
		t.codes[code] = shop
		t.entered(at, shop, code)
		if t.chance(15) {
			t.entered(t.after(at), shop, code)
		}
		if t.chance(4) && len(t.shops) > 1 {
			t.crossed[code] = true
			t.entered(t.after(at), t.shops[0], code)
		}
	}
}

func (t *teller) selected(at time.Duration, shop, email string) {
	t.event(at, schemas.TypeProviderSelected, shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q}`, shop, email))
}

func (t *teller) entered(at time.Duration, shop, code string) {
	t.event(at, schemas.TypeCodeEntered, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, code))
}

// event adds an event that counts, and at times the same again.
func (t *teller) event(at time.Duration, typ, shop, data string) {
	t.events++
	t.add(at, typ, shop, taken, data)
	if t.chance(25) {
		again := t.inputs[len(t.inputs)-1]
		again.at = t.after(at)
		t.inputs = append(t.inputs, again)
	}
}

// garbage adds what a platform should not send.
func (t *teller) garbage() {
	at, shop := t.some(), t.shops[t.rnd.IntN(len(t.shops))]
	switch t.rnd.IntN(4) {
	case 0:
		t.add(at, schemas.TypeCodeEntered, shop, dead, `{"shopId":`)
	case 1:
		t.add(at, schemas.TypeProviderSelected, shop, dead, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"a@b.example","partnerAccount":"nobody"}`, shop))
	case 2:
		t.add(at, schemas.TypeCodeEntered, shop, ignored, "")
	case 3:
		// The same identity with other content; it comes behind the first.
		t.entered(at, shop, "rejected-"+shop+"-x")
		first := t.inputs[len(t.inputs)-1]
		t.add(t.span, schemas.TypeCodeEntered, shop, dead, fmt.Sprintf(`{"shopId":%q,"activationCode":"rejected-%s-y"}`, shop, shop))
		t.inputs[len(t.inputs)-1].message.Headers[1] = first.message.Headers[1]
	}
}

func (t *teller) add(at time.Duration, typ, shop, what, data string) {
	t.ids++
	id := fmt.Sprint(strings.TrimPrefix(typ, "shop."), "/", t.ids)
	m := kafkago.Message{
		Key: []byte(shop), Value: []byte(data),
		Headers: []kafkago.Header{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(id)},
			{Key: "ce_source", Value: []byte("/platform")},
			{Key: "ce_type", Value: []byte(typ)},
			{Key: "ce_subject", Value: []byte(shop)},
			{Key: "content-type", Value: []byte("application/json")},
			{Key: kind, Value: []byte(what)},
		},
	}
	if data == "" {
		m.Value = nil
	}
	t.inputs = append(t.inputs, input{at, typ, m})
}

func header(m kafkago.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
