package consumer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

func TestDeadLetterLog(t *testing.T) {
	letter := func(offset int64) journal.DeadLetter {
		return journal.DeadLetter{
			Offset: offset, Reason: "missing", Where: "/email", EventID: "e-1", Key: "s-1", Shop: journal.ShopKey{Account: "default", Shop: "s-1"},
			Sealed: []byte("sealed"), Digest: []byte("digest"),
		}
	}
	begin := func() (*deadLetterLog, *slog.Logger, func() []string) {
		var text bytes.Buffer
		handler := slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		return &deadLetterLog{}, slog.New(handler), func() []string {
			lines := strings.Split(strings.TrimSpace(text.String()), "\n")
			text.Reset()
			return lines
		}
	}
	t.Run("Facts", func(t *testing.T) {
		l, log, lines := begin()
		stats := batchStats{deadLetters: map[schemas.InvalidReason]int{schemas.ReasonMissing: 1}}
		stats.noteForLog(letter(7))
		l.log(log, &stats, nil, journal.Ingested{})
		want := `level=WARN msg="dead letter" offset=7 reason=missing where=/email event=e-1 account=default shop=s-1 key=s-1`
		if got := lines(); len(got) != 1 || got[0] != want {
			t.Errorf("%q", got)
		}
	})
	t.Run("ReusedID", func(t *testing.T) {
		l, log, lines := begin()
		var reused reusedDeadLetters
		reused.note(letter(3))
		reused.note(letter(3)) // the transaction ran again
		l.log(log, &batchStats{}, reused.take(), journal.Ingested{Reused: 1})
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "offset=3") {
			t.Errorf("%q", got)
		}
	})
	t.Run("UnreadableFlood", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, log, lines := begin()
			for range 2 {
				for i := range int64(5000) {
					l.unreadable(log, &unreadableRange{from: i, to: i + 1, reason: schemas.ReasonTooLarge})
				}
				if got := lines(); len(got) != maxLoggedDeadLetters || !strings.Contains(got[0], "from=0 to=0 reason=too_large") {
					t.Errorf("%d lines, the first %q", len(got), got[0])
				}
				<-time.After(logWindow)
			}
		})
	})
	t.Run("Flood", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, log, lines := begin()
			flood := func() {
				stats := batchStats{deadLetters: map[schemas.InvalidReason]int{schemas.ReasonMissing: 500}}
				for i := range int64(500) {
					stats.noteForLog(letter(i))
				}
				l.log(log, &stats, nil, journal.Ingested{})
			}
			for range 20 {
				flood()
			}
			if got := lines(); len(got) != maxLoggedDeadLetters+1 || !strings.Contains(got[maxLoggedDeadLetters], "not logging") {
				t.Errorf("%d lines: %q", len(got), got)
			}
			<-time.After(logWindow)
			flood()
			if got := lines(); len(got) != maxLoggedDeadLetters+1 {
				t.Errorf("%d lines in the next minute", len(got))
			}
		})
	})
	t.Run("NearMiss", func(t *testing.T) {
		l, log, lines := begin()
		for range 3 {
			l.log(log, &batchStats{nearMisses: 1, nearMiss: "invoice-box", nearMissAt: 9}, nil, journal.Ingested{})
		}
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "offset=9 provider=invoice-box expected=invoicebox") {
			t.Errorf("%q", got)
		}
		for i := range 100 {
			l.log(log, &batchStats{nearMisses: 1, nearMiss: strings.Repeat("x", i)}, nil, journal.Ingested{})
		}
		if got := lines(); len(got) > maxLoggedSpellings {
			t.Errorf("%d spellings are logged", len(got))
		}
	})
	t.Run("Bound", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, log, lines := begin()
			for range 3 {
				l.log(log, &batchStats{}, nil, journal.Ingested{Unkept: 2})
			}
			if got := lines(); len(got) != 1 || !strings.Contains(got[0], "--dead-letter-limit") {
				t.Errorf("%q", got)
			}
		})
	})
}

func TestLoggableKey(t *testing.T) {
	for key, want := range map[string]string{
		"shop-1": "shop-1", "магазин": "магазин", "": "", "owner@shop.example": "", "a\x00b": "", "\xff": "", strings.Repeat("k", 129): "",
	} {
		if got := loggableKey([]byte(key)); got != want {
			t.Errorf("%q: %q", key, got)
		}
	}
}
