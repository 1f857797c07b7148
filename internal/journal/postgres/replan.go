package postgres

// Plans are made again after so many rows were inserted, then after twice as many, and
// so on up to the last.
const (
	firstReplan = 200
	lastReplan  = 50_000
)

// plansAreOld tells that the tables may have grown much since the writer's
// statements were planned. Where they were small, reading the whole of an index
// costs the least, and a plan stays as it is until the server looks at its tables
// again, minutes later: all that is read then grows with the square of what came.
func (j *Journal) plansAreOld() bool {
	n := j.inserted.Load()
	if n < max(j.replanAt, firstReplan) {
		return false
	}
	j.replanAt = n + min(n, lastReplan)
	return true
}
