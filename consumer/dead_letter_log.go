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
	// At most so many dead letters are logged in a logWindow. The metrics and the
	// journal have all of them; a flood must not displace other log lines.
	maxLoggedDeadLetters = 10
	logWindow            = time.Minute
	// At most so many spellings of the provider's name are logged, each once.
	maxLoggedSpellings = 20
)

// A deadLetterLog logs dead letters, and providers that resemble this service's. All
// partitions share it.
type deadLetterLog struct {
	mu            sync.Mutex
	began         time.Time // of the window
	logged        int       // in the window
	omitted       int       // not logged, in the window
	spellings     map[string]struct{}
	limitLoggedAt time.Time // when reaching the limit was logged last

	unreadBegan  time.Time // of the window of unreadable records
	unreadLogged int
}

// unreadable logs why records cannot be read. One compressed batch can hold thousands
// of them, so they have a limit as dead letters do.
func (l *deadLetterLog) unreadable(log *slog.Logger, u *unreadableRange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.unreadBegan.IsZero() || now.Sub(l.unreadBegan) >= logWindow {
		l.unreadBegan, l.unreadLogged = now, 0
	}
	if l.unreadLogged++; l.unreadLogged <= maxLoggedDeadLetters {
		log.Warn("stored unreadable records as dead letters", "from", u.from, "to", u.to-1, "reason", u.reason, "err", u.why)
	}
}

// log writes the log lines of a batch that was ingested.
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
			log.Warn("not logging further dead letters for a minute; use `dead-letters list`")
		}
		l.omitted += total
	}
	if done.Unkept > 0 && time.Since(l.limitLoggedAt) >= logWindow {
		l.limitLoggedAt = time.Now()
		log.Warn("a dead-letter limit is reached; storing position and digest only (--dead-letter-limit, --dead-letter-size)", "records", done.Unkept)
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
	log.Warn("ignored an event whose provider resembles this service's; it may be a typing error",
		"offset", t.nearMissAt, "provider", t.nearMiss, "expected", schemas.Provider)
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

// forLog copies what the log needs of a dead letter.
func forLog(l journal.DeadLetter) journal.DeadLetter {
	return journal.DeadLetter{Offset: l.Offset, Reason: l.Reason, Where: l.Where, EventID: l.EventID, Shop: l.Shop, Key: l.Key}
}

// reusedDeadLetters are the dead letters that the journal requested in the transaction
// of a batch. A transaction that is repeated requests them again.
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

// loggableKey returns a record's key if it may be stored unencrypted. By contract it is
// the shop id; what may be an e-mail address is left out.
func loggableKey(key []byte) string {
	text := string(key)
	if len(text) > schemas.MaxShopBytes || !utf8.ValidString(text) || strings.ContainsRune(text, '@') || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}
