package consumer

import (
	"testing"
	"time"
)

// A time that cannot be right is never the least or the greatest of an order.
func TestEventTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var none time.Time
	before, far := now.Add(-time.Hour), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	epoch, seconds := time.UnixMilli(0).UTC(), time.UnixMilli(now.Unix()).UTC()
	least := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	for name, row := range map[string]struct {
		event, record, want time.Time
		trusted             bool
	}{
		"Event":                {before, now, before, true},
		"LastYear":             {now.AddDate(-1, 0, 0), now, now.AddDate(-1, 0, 0), true},
		"NowItself":            {now, none, now, true},
		"Far":                  {far, before, before, false},
		"AMomentAhead":         {now.Add(time.Millisecond), before, before, false},
		"FarWithoutRecordTime": {far, none, now, false},
		"BothFar":              {far, far, now, false},
		"RecordFar":            {none, far, now, false},
		"None":                 {none, none, none, true},
		"NoneOfTheEvent":       {none, before, before, true},
		"Epoch":                {epoch, none, none, false},
		"EpochOfTheRecord":     {epoch, before, before, false},
		"SecondsForMillis":     {seconds, seconds, none, false},
		"LeastOfDotNet":        {least, least, none, false},
	} {
		t.Run(name, func(t *testing.T) {
			if at, trusted := eventTime(row.event, row.record, now); !at.Equal(row.want) || trusted != row.trusted {
				t.Errorf("%v, %v; want %v, %v", at, trusted, row.want, row.trusted)
			}
		})
	}
}
