package consumer

import "time"

// earliestTime is the first instant that is taken for the time of an event.
// What lies before it is a default value, or seconds taken for milliseconds.
var earliestTime = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// eventTime is the time by which a shop's events are compared: the event's own,
// else the record's. Both come from clocks that need not be right. A time that
// cannot be right must not be the least or the greatest of an order: one ahead of
// our clock is held to the record's time, or to our clock where that is ahead,
// too; one before earliestTime counts as none, which is zero. Trusted says
// whether the event's time was used as it is.
func eventTime(event, record, now time.Time) (at time.Time, trusted bool) {
	credible := func(t time.Time) bool { return !t.Before(earliestTime) && !t.After(now) }
	switch {
	case credible(event):
		return event, true
	case credible(record):
		return record, event.IsZero()
	case event.After(now), record.After(now):
		return now, false
	}
	return time.Time{}, event.IsZero()
}
