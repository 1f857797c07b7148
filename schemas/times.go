package schemas

import (
	"bytes"
	"strings"
	"time"
)

// time is the event's, else the record's. A time of a common form that cannot be
// read for certain, for want of a zone above all, is dropped: it is optional, and
// what the event is about must not be lost for it.
func (r *decodeState) time(ofRecord time.Time) (t time.Time, dropped bool, fault *InvalidError) {
	if len(r.env.time) == 0 {
		return ofRecord.UTC(), false, nil
	}
	if t, ok := parseTime(r.env.time); ok {
		return t, false, nil
	}
	if t, ok := parseCommonTime(string(r.env.time)); ok {
		return t, false, nil
	}
	if isDate(r.env.time) {
		return ofRecord.UTC(), true, nil
	}
	return time.Time{}, false, &InvalidError{Reason: ReasonMalformed, Where: r.attribute("time")}
}

// parseTime reads RFC 3339. Go's own reading also takes one digit for the hour,
// a comma before the fraction and offsets of a day; no two readers of an event
// should disagree about it.
func parseTime(text []byte) (time.Time, bool) {
	const shape = "0000-00-00T00:00:00"
	text = bytes.ToUpper(text) // t and z are T and Z
	if len(text) <= len(shape) || bytes.IndexByte(text, ',') >= 0 {
		return time.Time{}, false
	}
	for i := range len(shape) {
		if isDigit := '0' <= text[i] && text[i] <= '9'; isDigit != (shape[i] == '0') || !isDigit && text[i] != shape[i] {
			return time.Time{}, false
		}
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return time.Time{}, false
	}
	if zone := text[len(text)-len("+00:00"):]; text[len(text)-1] != 'Z' && (string(zone[1:3]) > "23" || string(zone[4:]) > "59") {
		return time.Time{}, false
	}
	return t.UTC(), true
}

// commonTimes are forms beside RFC 3339 that say the same instant to every
// reader.
var commonTimes = []string{
	"2006-01-02T15:04:05Z0700", // PHP's DATE_ISO8601, Java's SimpleDateFormat
	"2006-01-02T15:04:05Z07",   // PostgreSQL
	"2006-01-02T15:04Z07:00",   // Java, which leaves out seconds that are zero
	"2006-01-02T15:04Z0700",
	"20060102T150405Z0700", // ISO 8601, basic form
	time.RFC1123Z,          // PHP's DATE_RFC2822
}

// parseCommonTime reads what Python, PHP, Java and databases write beside RFC
// 3339, as far as it names one instant.
func parseCommonTime(text string) (time.Time, bool) {
	if len(text) > 80 {
		return time.Time{}, false
	}
	text, _, _ = strings.Cut(text, "[") // Java's ZonedDateTime names the zone behind the offset
	if len(text) > 10 && text[4] == '-' {
		text = strings.ToUpper(text)
		if text[10] == ' ' { // Python's str, SQL, Ruby
			clock, isUTC := strings.CutSuffix(text[11:], " UTC")
			if isUTC {
				clock += "Z"
			}
			text = text[:10] + "T" + strings.ReplaceAll(clock, " ", "")
		}
		text = strings.Replace(text, ",", ".", 1)
		if t, ok := parseTime([]byte(text)); ok {
			return t, true
		}
	}
	for _, layout := range commonTimes {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// isDate reports whether a text begins as dates do: with 2026-11-29 or 20261129T,
// or with the name of a weekday.
func isDate(text []byte) bool {
	for _, day := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
		if bytes.HasPrefix(text, []byte(day)) {
			return true
		}
	}
	for _, shape := range []string{"0000-00-00", "00000000T"} {
		if hasShape(text, shape) {
			return true
		}
	}
	return false
}

// hasShape compares digits with 0 and other signs with themselves.
func hasShape(text []byte, shape string) bool {
	if len(text) < len(shape) {
		return false
	}
	for i := range len(shape) {
		isDigit := '0' <= text[i] && text[i] <= '9'
		if isDigit != (shape[i] == '0') || !isDigit && text[i] != shape[i] {
			return false
		}
	}
	return true
}
