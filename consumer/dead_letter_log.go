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
	// So many dead letters are logged in logWindow: a flood is in the metrics
	// and in the journal, and does not push everything else out of the log.
	maxLoggedDeadLetters = 10
	logWindow            = time.Minute
	// So many spellings of our provider's name are warned about, each once.
	maxLoggedSpellings = 20
)

// A deadLetterLog logs dead letters, and providers that are nearly ours. All
// partitions share it.
type deadLetterLog struct {
	mu            sync.Mutex
	began         time.Time // of the window
	logged        int       // in the window
	omitted       int       // out of the log, in the window
	spellings     map[string]struct{}
	limitLoggedAt time.Time // when the bound was logged last

	unreadBegan  time.Time // of the window of records that cannot be read
	unreadLogged int
}

// unreadableRange logs why records cannot be read. One compressed batch can hold
// thousands of those, so a window has no more lines than for dead letters.
func (l *deadLetterLog) unreadable(log *slog.Logger, u *unreadableRange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.unreadBegan.IsZero() || now.Sub(l.unreadBegan) >= logWindow {
		l.unreadBegan, l.unreadLogged = now, 0
	}
	if l.unreadLogged++; l.unreadLogged <= maxLoggedDeadLetters {
		log.Warn("records cannot be read; they become dead letters", "from", u.from, "to", u.to-1, "reason", u.reason, "err", u.why)
	}
}

// log writes what the log should have of a batch that the journal has taken.
func (l *deadLetterLog) log(log *slog.Logger, t *batchStats, reused []journal.DeadLetter, done journal.Ingested) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := t.deadLetterCount + done.Reused
	for _, letter := range append(t.noted, reused...) {
		if !l.mayLog() {
			break
		}
		total--
		log.Warn("dead letter", deadLetterAttrs(letter)...)
	}
	if total > 0 {
		if l.omitted == 0 {
			log.Warn("more dead letters are not logged for a minute; `dead-letters list` shows them")
		}
		l.omitted += total
	}
	if done.Unkept > 0 && time.Since(l.limitLoggedAt) >= logWindow {
		l.limitLoggedAt = time.Now()
		log.Warn("a bound of dead letters is reached; only position and digest are kept (--dead-letter-limit, --dead-letter-size)", "records", done.Unkept)
	}
	if t.nearMiss != "" {
		l.spelling(log, t)
	}
}

// mayLog counts the lines of a window, and begins a new one when it is over.
func (l *deadLetterLog) mayLog() bool {
	if now := time.Now(); l.began.IsZero() || now.Sub(l.began) >= logWindow {
		l.began, l.logged, l.omitted = now, 0, 0
	}
	l.logged++
	return l.logged <= maxLoggedDeadLetters
}

func (l *deadLetterLog) spelling(log *slog.Logger, t *batchStats) {
	if _, known := l.spellings[t.nearMiss]; known || len(l.spellings) >= maxLoggedSpellings {
		return
	}
	if l.spellings == nil {
		l.spellings = map[string]struct{}{}
	}
	l.spellings[t.nearMiss] = struct{}{}
	log.Warn("the event is ignored: its provider is nearly the one of this service; is it a typing error?",
		"offset", t.nearMissAt, "provider", t.nearMiss, "right", schemas.Provider)
}

func deadLetterAttrs(l journal.DeadLetter) []any {
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

// reusedDeadLetters are the dead letters that the journal asked for in the
// transaction of a batch. A transaction that is run again asks again.
type reusedDeadLetters struct {
	mu   sync.Mutex
	list []journal.DeadLetter
}

func (r *reusedDeadLetters) note(l journal.DeadLetter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].Offset == l.Offset {
			return
		}
	}
	if len(r.list) < maxLoggedDeadLetters {
		r.list = append(r.list, forLog(l))
	}
}

func (r *reusedDeadLetters) take() []journal.DeadLetter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

// loggableKey is a record's key as far as it is fit to be kept in the open. By
// contract it is the shop id; what may be an address is not kept.
func loggableKey(key []byte) string {
	text := string(key)
	if len(text) > schemas.MaxShopBytes || !utf8.ValidString(text) || strings.ContainsRune(text, '@') || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}
