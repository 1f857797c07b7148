package consumer

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

func leader() assignor { return assignor{"test", new(atomic.Bool), new(holding)} }

func topicsOf(counts map[string]int) []kafkago.Partition {
	var list []kafkago.Partition
	for topic, n := range counts {
		for id := range n {
			list = append(list, kafkago.Partition{Topic: topic, ID: id})
		}
	}
	return list
}

// owners turns an assignment over, and fails where one is dealt twice, is not
// there, or went to a member that did not ask for it.
func owners(t interface{ Fatalf(string, ...any) }, dealt kafkago.GroupMemberAssignments, members []kafkago.GroupMember, partitions []kafkago.Partition) map[topicPartition]string {
	asked := map[string][]string{}
	for _, m := range members {
		asked[m.ID] = m.Topics
	}
	there := map[topicPartition]bool{}
	for _, p := range partitions {
		there[topicPartition{p.Topic, p.ID}] = true
	}
	found := map[topicPartition]string{}
	for member, topics := range dealt {
		for topic, list := range topics {
			for _, id := range list {
				p := topicPartition{topic, id}
				if other, twice := found[p]; twice {
					t.Fatalf("%v is dealt to %s and %s", p, other, member)
				}
				if !there[p] || !slices.Contains(asked[member], topic) {
					t.Fatalf("%v is dealt to %s, which asked for %v", p, member, asked[member])
				}
				found[p] = member
			}
		}
	}
	for p := range there {
		wanted := slices.ContainsFunc(members, func(m kafkago.GroupMember) bool { return slices.Contains(m.Topics, p.topic) })
		if _, ok := found[p]; wanted && !ok {
			t.Fatalf("%v is dealt to nobody", p)
		}
	}
	return found
}

// fewestMoves is how many partitions have to change hands at least: what nobody
// holds, and what members hold above their share, of which as many as the rest
// allows is one larger.
func fewestMoves(kept map[string]int, members, partitions int) int {
	share, larger := partitions/members, partitions%members
	moves, held := partitions, 0
	for _, n := range kept {
		held += n
		above := n - share
		if above > 0 && larger > 0 {
			above, larger = above-1, larger-1
		}
		moves += max(above, 0)
	}
	return moves - held
}

// A group lives through many generations: members come, go, are cut off and come
// back with what they held long ago, and topics grow.
func TestDealingIsEvenAndMovesAsFewAsPossible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := map[string]int{"a": rapid.IntRange(1, 12).Draw(t, "a"), "b": rapid.IntRange(1, 12).Draw(t, "b")}
		topics := slices.Sorted(maps.Keys(counts))
		held := map[string]*holding{} // also of those that are away
		var last map[topicPartition]string
		for generation := range int32(rapid.IntRange(1, 12).Draw(t, "generations")) {
			generation++
			counts["a"] += rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "growth")
			partitions := topicsOf(counts)
			var members []kafkago.GroupMember
			claimed := map[string]claims{}
			names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"m1", "m2", "m3", "m4", "m5"}), 1, 5, rapid.ID[string]).Draw(t, "members")
			for _, name := range names {
				// Most of those that come are new processes.
				if held[name] == nil || !slices.Contains(slices.Collect(maps.Values(last)), name) && rapid.IntRange(0, 2).Draw(t, "cut off") > 0 {
					held[name] = new(holding)
				}
				claimed[name] = held[name].claims()
				members = append(members, kafkago.GroupMember{ID: name, Topics: topics, UserData: encodeClaims(claimed[name])})
			}
			dealt := leader().AssignGroups(members, partitions)
			now := owners(t, dealt, members, partitions)

			least, most := len(partitions), 0
			for _, m := range members {
				n := len(dealt[m.ID]["a"]) + len(dealt[m.ID]["b"])
				least, most = min(least, n), max(most, n)
			}
			if most-least > 1 {
				t.Fatalf("one has %d, another %d", most, least)
			}
			kept, moves, stale := map[string]int{}, 0, 0
			for p, owner := range now {
				before := last[p]
				switch {
				case slices.Contains(names, before):
					kept[before]++
				case slices.ContainsFunc(names, func(n string) bool { _, ok := claimed[n][p]; return ok }):
					stale++
				}
				if before != owner {
					moves++
				}
			}
			// What its last owner has left behind, one that was cut off may believe
			// to hold still: that can cost as many moves more, and no others.
			if fewest := fewestMoves(kept, len(members), len(partitions)); moves < fewest || moves > fewest+stale {
				t.Fatalf("%d moved, %d had to; %d stale claims", moves, fewest, stale)
			}
			rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			rand.Shuffle(len(partitions), func(i, j int) { partitions[i], partitions[j] = partitions[j], partitions[i] })
			if diff := cmp.Diff(dealt, leader().AssignGroups(members, partitions)); diff != "" {
				t.Fatalf("dealt otherwise in another order:\n%s", diff)
			}
			for _, m := range members {
				held[m.ID].begin(generation, assignments(dealt[m.ID]))
			}
			last = now
		}
	})
}

func assignments(topics map[string][]int) map[string][]kafkago.PartitionAssignment {
	out := map[string][]kafkago.PartitionAssignment{}
	for topic, list := range topics {
		for _, id := range list {
			out[topic] = append(out[topic], kafkago.PartitionAssignment{ID: id})
		}
	}
	return out
}

// Members that ask for different topics, and say whatever they like.
func TestDealingToMembersWithDifferentTopics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []string{"a", "b", "c", "d"}
		counts := map[string]int{}
		for _, topic := range all {
			counts[topic] = rapid.IntRange(0, 8).Draw(t, topic)
		}
		partitions := topicsOf(counts)
		var members []kafkago.GroupMember
		for i := range rapid.IntRange(1, 6).Draw(t, "members") {
			lastLogged := claims{}
			for range rapid.IntRange(0, 20).Draw(t, "claims") {
				p := topicPartition{rapid.SampledFrom([]string{"a", "b", "c", "d", "none"}).Draw(t, "topic"), rapid.IntRange(0, 12).Draw(t, "partition")}
				lastLogged[p] = int64(rapid.IntRange(0, 3).Draw(t, "since"))
			}
			data := encodeClaims(lastLogged)
			if rapid.IntRange(0, 4).Draw(t, "hostile") == 0 {
				data = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")
			}
			members = append(members, kafkago.GroupMember{
				ID:     fmt.Sprint("m", i),
				Topics: rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(t, "topics"), UserData: data,
			})
		}
		dealt := leader().AssignGroups(members, partitions)
		owners(t, dealt, members, partitions)
		if len(dealt) != len(members) {
			t.Fatalf("%d of %d members are told what they have", len(dealt), len(members))
		}
		// reach[x][y]: x could pass one on to y, by a chain perhaps.
		load, reach := make([]int, len(members)), make([][]bool, len(members))
		for x, m := range members {
			reach[x] = make([]bool, len(members))
			for topic, list := range dealt[m.ID] {
				load[x] += len(list)
				for y, other := range members {
					reach[x][y] = reach[x][y] || len(list) > 0 && slices.Contains(other.Topics, topic)
				}
			}
		}
		for via := range members {
			for x := range members {
				for y := range members {
					reach[x][y] = reach[x][y] || reach[x][via] && reach[via][y]
				}
			}
		}
		for x := range members {
			for y := range members {
				if reach[x][y] && load[x]-load[y] > 1 {
					t.Fatalf("%s has %d, and could pass one on to %s, which has %d", members[x].ID, load[x], members[y].ID, load[y])
				}
			}
		}
	})
}

// Who comes back after a restart gets what the others only held for it, so that
// one worker's restart moves no partition of another.
func TestAWorkerThatComesBackGetsItsOwn(t *testing.T) {
	partitions := topicsOf(map[string]int{"codes": 12, "selected": 12})
	topics := []string{"codes", "selected"}
	held := map[string]*holding{}
	generation := int32(0)
	round := func(names ...string) map[topicPartition]string {
		generation++
		var members []kafkago.GroupMember
		for _, name := range names {
			if held[name] == nil {
				held[name] = new(holding)
			}
			members = append(members, kafkago.GroupMember{ID: name, Topics: topics, UserData: encodeClaims(held[name].claims())})
		}
		dealt := leader().AssignGroups(members, partitions)
		for _, name := range names {
			held[name].begin(generation, assignments(dealt[name]))
		}
		return owners(t, dealt, members, partitions)
	}
	before := round("a0", "b0", "c0")
	for _, restart := range [][]string{{"b0", "c0", "a1"}, {"c0", "a1", "b1"}, {"a1", "b1", "c1"}} {
		round(restart[0], restart[1])
		after := round(restart...)
		for p, owner := range after {
			if old := before[p]; old != owner && old[0] != owner[0] {
				t.Errorf("%v went from %s to %s", p, old, owner)
			}
		}
		before = after
	}
}

// A runMember that was cut off comes back and says that it holds what another got
// meanwhile.
func TestAStaleClaimLoses(t *testing.T) {
	p := topicPartition{"a", 0}
	for _, order := range [][2]string{{"m1", "m2"}, {"m2", "m1"}} {
		stale, current := order[0], order[1]
		dealt := leader().AssignGroups([]kafkago.GroupMember{
			{ID: stale, Topics: []string{"a"}, UserData: encodeClaims(claims{p: 5})},
			{ID: current, Topics: []string{"a"}, UserData: encodeClaims(claims{p: 6})},
		}, topicsOf(map[string]int{"a": 1}))
		if len(dealt[current]["a"]) != 1 {
			t.Errorf("%s has it: %v", stale, dealt)
		}
	}
	// Between generations that do not follow each other nothing is held on to.
	var h holding
	one := map[string][]kafkago.PartitionAssignment{"a": {{ID: 0}}}
	for _, step := range []struct {
		generation int32
		since      int64
	}{{3, 3}, {4, 3}, {4, 3}, {6, 6}, {7, 6}, {2, 2}} {
		h.begin(step.generation, one)
		if got := h.claims()[p]; got != step.since {
			t.Errorf("generation %d: held since %d, want %d", step.generation, got, step.since)
		}
	}
}

func TestAnEmptyGroupIsDealtNothing(t *testing.T) {
	if dealt := leader().AssignGroups(nil, topicsOf(map[string]int{"a": 3})); len(dealt) != 0 {
		t.Errorf("%v", dealt)
	}
}

func TestClaimsThatAreTooManyAreLeftOut(t *testing.T) {
	c := claims{topicPartition{"small", 3}: 1, topicPartition{strings.Repeat("x", maxTopicName+1), 0}: 1}
	for i := range maxClaimsBytes {
		c[topicPartition{"large", i}] = 1 << 30
	}
	data := encodeClaims(c)
	if diff := cmp.Diff(claims{topicPartition{"small", 3}: 1}, decodeClaims(data), cmp.AllowUnexported(topicPartition{})); diff != "" {
		t.Error(diff)
	}
}

func TestForeignUserDataClaimsNothing(t *testing.T) {
	good := encodeClaims(claims{topicPartition{"a", 0}: 1, topicPartition{"a", 7}: 300})
	if len(decodeClaims(good)) != 2 {
		t.Fatalf("%v", decodeClaims(good))
	}
	for name, data := range map[string][]byte{
		"nothing":                 nil,
		"another version's":       append([]byte{claimsFormat + 1}, good[1:]...),
		"cut short":               good[:len(good)-1],
		"more than there is":      append(slices.Clone(good), 1),
		"one twice":               append(slices.Clone(good), good[1:]...),
		"too large":               bytes.Repeat(append([]byte{claimsFormat}, make([]byte, 8)...), maxClaimsBytes),
		"large, of empty topics":  append([]byte{claimsFormat}, make([]byte, maxClaimsBytes)...),
		"a partition of 32 bits":  []byte("\x01\x01a\x02\xff\xff\xff\xff\x07\x00\x00\x00"),
		"a generation of 64 bits": []byte("\x01\x01a\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
	} {
		if c := decodeClaims(data); c != nil {
			t.Errorf("%s: %v", name, c)
		}
	}
}

func FuzzClaims(f *testing.F) {
	good := encodeClaims(claims{topicPartition{"a", 0}: 1, topicPartition{"a", 7}: 300, topicPartition{"b", 1 << 30}: 1 << 30})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append([]byte{2}, good[1:]...))
	f.Add(append(slices.Clone(good), good[1:]...)) // each twice
	f.Add([]byte("\x01\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add(bytes.Repeat([]byte{1}, maxClaimsBytes+1))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := decodeClaims(data)
		for p, since := range c {
			if p.partition < 0 || p.partition > 1<<31-1 || since < 0 || since > 1<<31-1 || len(p.topic) > maxTopicName {
				t.Fatalf("%v since %d", p, since)
			}
		}
		if again := decodeClaims(encodeClaims(c)); len(encodeClaims(c)) < maxClaimsBytes/2 && !maps.Equal(c, again) {
			t.Fatalf("%v became %v", c, again)
		}
		members := []kafkago.GroupMember{{ID: "m1", Topics: []string{"a"}, UserData: data}, {ID: "m2", Topics: []string{"a"}, UserData: good}}
		partitions := topicsOf(map[string]int{"a": 8})
		for _, m := range members {
			if n := len(leader().AssignGroups(members, partitions)[m.ID]["a"]); n != 4 {
				t.Fatalf("%s has %d of 8", m.ID, n)
			}
		}
		owners(t, leader().AssignGroups(members, partitions), members, partitions)
	})
}
