package nodes

import "github.com/crolang-p2p/crolang-aio/internal/nodeid"

// Imposed is what was decided elsewhere about a Node whose bans this machine shares with others.
type Imposed struct {
	Ban  Ban    // the one that counts now; only its Node if Lift is set
	Lift bool   // none holds any more
	By   string // who decided, for the why-record: "the operator at the machine eu-2"
	Did  Banned // set by Impose
	Err  error  // set by Impose: what has not come into force
}

// Impose puts bans from elsewhere in force, or lifts them, all with one write of the disk: as [Registry.Ban] and
// [Registry.Unban] do, but for times, which are taken as they come. What came of each stands in it: a ban is in force even if
// the disk did not take it, one to be lifted stays then.
func (r *Registry) Impose(all []Imposed) {
	var batch []*change
	at := make([]*Imposed, 0, len(all))
	for i := range all {
		one := &all[i]
		if one.Err = nodeid.Valid(one.Ban.Node); one.Err != nil {
			continue
		}
		c := &change{id: one.Ban.Node, by: one.By, elsewhere: true}
		if !one.Lift {
			ban := one.Ban
			c.ban = &ban
		}
		batch, at = append(batch, c), append(at, one)
	}
	r.bans.doAll(batch)
	for i, c := range batch {
		one := at[i]
		one.Did, one.Err = c.did, c.err
		if one.Lift && c.err == nil {
			r.note(c.id, stranger, KindUnbanned, false, c.by+" lifted the ban")
		}
	}
}
