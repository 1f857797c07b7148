package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

func widest(text string) int {
	most := 0
	for line := range strings.Lines(text) {
		most = max(most, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
	}
	return most
}

// Tables stay within their width: values lose their middles, but not those that
// are copied into other commands.
func TestTablesAreNarrow(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	id := uuid.MustParse("6f1f5a52-7a3c-4f0e-9f2e-1b9c2f6f0001")
	long := strings.Repeat("a", 60) + "é" + strings.Repeat("z", 60)
	record := journal.OperationRecord{
		UUID: id, Kind: journal.Activate, Shop: journal.ShopKey{Account: "default", Shop: long}, State: journal.Attention,
		Reason: "answer_unreadable", Attempts: 1, Created: at, Changed: at,
	}
	value := []byte(`{"shopId":"` + long + `","partnerAccount":"default","reason":"answer_unreadable","action":"contact_support","final":false}`)
	detail := journal.OperationDetail{
		OperationRecord: record,
		Tries: []journal.AttemptRecord{{Number: 1, Started: at, HasReceipt: true, End: &journal.AttemptEnd{
			At: at.Add(1234 * time.Millisecond), Outcome: "done", Status: 200, Code: "some_code", RequestID: id.String(),
		}}},
		Events: []journal.EventRecord{{Type: schemas.TypeCodeEntered, ID: id.String(), Received: at, Topic: long, Exit: "operation", Partition: 11, Offset: 123456}},
		Output: []journal.OutputRecord{{Type: schemas.TypeActivationFailed, Created: at, Sequence: 2, Published: true, Partition: 11, Offset: 123456, Value: value}},
	}
	var shown bytes.Buffer
	printOperation(&shown, detail, nil)
	text := shown.String()
	_, tables, _ := strings.Cut(text, "safe commands") // below the sheets, which have the shop's whole id and sentences
	if w := widest(tables); w > gridWidth {
		t.Errorf("operations show is %d wide:\n%s", w, tables)
	}
	for _, want := range []string{"unreadable", "1.234s", schemas.TypeActivationFailed, "11/123456", "answer_unre"} {
		if !strings.Contains(tables, want) {
			t.Errorf("operations show has no %q:\n%s", want, tables)
		}
	}
	if strings.Contains(tables, "partnerAccount") {
		t.Errorf("operations show has the raw data:\n%s", tables)
	}

	shown.Reset()
	history := journal.ShopHistory{Shop: journal.ShopKey{Account: "default", Shop: "s"}, Events: detail.Events, Output: detail.Output, Operations: []journal.OperationDetail{detail}}
	letter := journal.DeadLetterRecord{ID: 7, Topic: long, DeadLetter: journal.DeadLetter{Offset: 4, Reason: "missing", Where: "/email", EventID: id.String(), Shop: history.Shop, Time: at}}
	printShop(&shown, history, shopJSON{}, []journal.DeadLetterRecord{letter}, nil, &notes{})
	if w := widest(shown.String()); w > gridWidth || !strings.Contains(shown.String(), id.String()) || !strings.Contains(shown.String(), "/email") {
		t.Errorf("shops show is %d wide:\n%s", w, &shown)
	}

	shown.Reset()
	printTable(&shown, []any{nowrap("id"), "shop", "note"}, [][]any{{id, long, long}}, "")
	if w := widest(shown.String()); w > gridWidth || !strings.Contains(shown.String(), id.String()) || strings.Count(shown.String(), "…") != 2 {
		t.Errorf("a wide table is %d wide:\n%s", w, &shown)
	}
	shown.Reset()
	printTable(&shown, []any{"shop"}, [][]any{{"short é"}}, "")
	if strings.Contains(shown.String(), "…") {
		t.Errorf("a narrow table was cut:\n%s", &shown)
	}
}

func TestSummary(t *testing.T) {
	for value, want := range map[string]string{
		`{"shopId":"s","reason":"expired","action":"retry","final":true}`:                                 "expired, retry",
		`{"shopId":"s","outcome":"sent","invitationId":"1"}`:                                              "sent",
		`{"merchantId":"m","verification":"verified","credentials":{"ref":"ref+sealed://x","version":1}}`: "verified, ref+sealed://x",
		`{"specversion":"1.0","data":{"shopId":"s","reason":"expired","action":"retry"}}`:                 "expired, retry",
		`{"topic":"t"}`: "", `not json`: "", `{"reason":1}`: "", ``: "",
	} {
		if got := summary([]byte(value)); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// Only the attempt that brought the unreadable answer says so.
func TestOutcomeOfAnUnreadableAnswer(t *testing.T) {
	tries := []journal.AttemptRecord{
		{Number: 1, End: &journal.AttemptEnd{Outcome: "limited"}},
		{Number: 2, HasReceipt: true, End: &journal.AttemptEnd{Outcome: "done"}},
	}
	d := journal.OperationDetail{OperationRecord: journal.OperationRecord{Kind: journal.Activate, Reason: "answer_unreadable"}, Tries: tries}
	if a, b := outcomeOf(d, 0), outcomeOf(d, 1); a != "limited" || b != invoicebox.Unreadable.String() {
		t.Errorf("unreadable: %s, %s", a, b)
	}
	if got := detailView(d).AttemptList[1].Outcome; got != invoicebox.Unreadable.String() {
		t.Errorf("for programs: %s", got)
	}
	d.Reason = ""
	if b := outcomeOf(d, 1); b != "done" {
		t.Errorf("readable: %s", b)
	}
}
