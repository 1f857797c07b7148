package consumer

import (
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

const (
	// So many dead letters are logged in letterWindow: a flood is in the metrics
	// and in the journal, and does not push everything else out of the log.
	loggedLetters = 10
	letterWindow  = time.Minute
	// So many spellings of our provider's name are warned about, each once.
	loggedSpellings = 20
)

// A letterLog logs dead letters, and providers that are nearly ours. All
// partitions share it.
type letterLog struct {
	mu        sync.Mutex
	began     time.Time // of the window
	logged    int       // in the window
	left      int       // out of the log, in the window
	spellings map[string]struct{}
	unkept    time.Time // when the bound was logged last

	unreadBegan  time.Time // of the window of records that cannot be read
	unreadLogged int
}

// unreadable logs why records cannot be read. One compressed batch can hold
// thousands of those, so a window has no more lines than for dead letters.
func (l *letterLog) unreadable(log *slog.Logger, u *unreadable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.unreadBegan.IsZero() || now.Sub(l.unreadBegan) >= letterWindow {
		l.unreadBegan, l.unreadLogged = now, 0
	}
	if l.unreadLogged++; l.unreadLogged <= loggedLetters {
		log.Warn("records cannot be read; they become dead letters", "from", u.from, "to", u.to-1, "reason", u.reason, "err", u.why)
	}
}

// log writes what the log should have of a batch that the journal has taken.
func (l *letterLog) log(log *slog.Logger, t *tally, reused []journal.DeadLetter, done journal.Ingested) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := t.made + done.Reused
	for _, letter := range append(t.noted, reused...) {
		if !l.mayLog() {
			break
		}
		total--
		log.Warn("dead letter", letterFacts(letter)...)
	}
	if total > 0 {
		if l.left == 0 {
			log.Warn("more dead letters are not logged for a minute; `dead-letters list` shows them")
		}
		l.left += total
	}
	if done.Unkept > 0 && time.Since(l.unkept) >= letterWindow {
		l.unkept = time.Now()
		log.Warn("a bound of dead letters is reached; only position and digest are kept (--dead-letter-limit, --dead-letter-size)", "records", done.Unkept)
	}
	if t.nearMiss != "" {
		l.spelling(log, t)
	}
}

// mayLog counts the lines of a window, and begins a new one when it is over.
func (l *letterLog) mayLog() bool {
	if now := time.Now(); l.began.IsZero() || now.Sub(l.began) >= letterWindow {
		l.began, l.logged, l.left = now, 0, 0
	}
	l.logged++
	return l.logged <= loggedLetters
}

func (l *letterLog) spelling(log *slog.Logger, t *tally) {
	if _, known := l.spellings[t.nearMiss]; known || len(l.spellings) >= loggedSpellings {
		return
	}
	if l.spellings == nil {
		l.spellings = map[string]struct{}{}
	}
	l.spellings[t.nearMiss] = struct{}{}
	log.Warn("the event is ignored: its provider is nearly the one of this service; is it a typing error?",
		"offset", t.nearMissAt, "provider", t.nearMiss, "right", schemas.Provider)
}

func letterFacts(l journal.DeadLetter) []any {
	facts := []any{"offset", l.Offset, "reason", l.Reason}
	for _, f := range []struct{ name, text string }{
		{"where", l.Where}, {"event", l.EventID}, {"account", l.Shop.Account}, {"shop", l.Shop.Shop}, {"key", l.Key},
	} {
		if f.text != "" {
			facts = append(facts, f.name, f.text)
		}
	}
	return facts
}

// forLog is what the log needs of a dead letter.
func forLog(l journal.DeadLetter) journal.DeadLetter {
	return journal.DeadLetter{Offset: l.Offset, Reason: l.Reason, Where: l.Where, EventID: l.EventID, Shop: l.Shop, Key: l.Key}
}

// reusedLetters are the dead letters that the journal asked for in the
// transaction of a batch. A transaction that is run again asks again.
type reusedLetters struct {
	mu   sync.Mutex
	list []journal.DeadLetter
}

func (r *reusedLetters) note(l journal.DeadLetter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].Offset == l.Offset {
			return
		}
	}
	if len(r.list) < loggedLetters {
		r.list = append(r.list, forLog(l))
	}
}

func (r *reusedLetters) take() []journal.DeadLetter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

// shownKey is a record's key as far as it is fit to be kept in the open. By
// contract it is the shop id; what may be an address is not kept.
func shownKey(key []byte) string {
	text := string(key)
	if len(text) > schemas.MaxShopBytes || !utf8.ValidString(text) || strings.ContainsRune(text, '@') || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}
