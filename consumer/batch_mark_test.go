package consumer

import (
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/recordbatch"
)

func TestBatchMark(t *testing.T) {
	t.Run("Matches", testBatchMarkMatches)
	t.Run("Compacted", testBatchMarkCompacted)
}

func testBatchMarkMatches(t *testing.T) {
	read := journal.BatchMark{Last: 19, Epoch: 3, CRC: 77}
	for name, row := range map[string]struct {
		there batchMark
		want  bool
	}{
		"Same":                      {batchMark{base: 10, last: 19, epoch: 3, crc: 77}, true},
		"SameRecordsOfAnotherEpoch": {batchMark{base: 10, last: 19, epoch: 4, crc: 77}, true},
		"OtherRecords":              {batchMark{base: 10, last: 19, epoch: 3, crc: 78}, false},
		"OtherEpoch":                {batchMark{base: 10, last: 19, epoch: 4, crc: 78}, false},
		"OtherBounds":               {batchMark{base: 15, last: 25, epoch: 3, crc: 77}, false},
		"Compacted":                 {batchMark{base: 10, last: 19, epoch: 3, crc: 78, compacted: true}, true},
		"CompactedOtherEpoch":       {batchMark{base: 10, last: 19, epoch: 4, crc: 78, compacted: true}, false},
		"CompactedAway":             {batchMark{base: 30, last: 39, epoch: 5, crc: 1}, true},
		"EarlierEpochBehindAGap":    {batchMark{base: 30, last: 39, epoch: 2, crc: 1}, false},
		"EpochUnknown":              {batchMark{base: 10, last: 19, epoch: -1, crc: 77}, true},
		"EpochUnknownOtherRecords":  {batchMark{base: 10, last: 19, epoch: -1, crc: 78}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := row.there.matches(&read); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}

// The log cleaner changes a batch's checksum when it takes records out, and also
// when it only notes when tombstones and transaction markers may go.
func testBatchMarkCompacted(t *testing.T) {
	for name, row := range map[string]struct {
		header recordbatch.Header
		want   bool
	}{
		"Whole":         {recordbatch.Header{LastOffsetDelta: 9, Count: 10}, false},
		"LacksRecords":  {recordbatch.Header{LastOffsetDelta: 9, Count: 9}, true},
		"DeleteHorizon": {recordbatch.Header{LastOffsetDelta: 9, Count: 10, Attributes: 1 << 6}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := batchMarkOf(&row.header).compacted; got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
