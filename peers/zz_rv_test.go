package peers
import ("testing";"time";"net/netip";"fmt")
func rvTable(n int) (*Table, time.Time) {
 now:=time.Now()
 t:=New(Options{Access: []Rule{{From:"any",Cover:prefixes("0.0.0.0/0","::/0"),May:MayBoth}},Expiry:time.Minute},now)
 for i:=0;i<n;i++{ t.Heard(netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20,1,0xd,0xb8,0,byte(i>>8),0,byte(i)}),4000),now)}
 return t,now}
func rvBan(t *Table, now time.Time) {
 for i:=0;i<1000;i++{ a:=netip.AddrFrom16([16]byte{0x30,byte(i),byte(i>>8),1,2,3,4,5,6,7,8,9,10,11,12,13}); p,_:=a.Prefix(8+i%121); t.Ban(p,time.Time{},"",now)}}
func TestZZRV(tt *testing.T){
 for _,n:=range []int{0,1000,10000}{
  t,now:=rvTable(n); b:=time.Now(); rvBan(t,now); fmt.Println(n,"peers: 1000 bans take",time.Since(b))
  fmt.Println(len(t.Bans(now)))
  x:=time.Now(); t.Ban(netip.MustParsePrefix("192.0.2.1/32"),time.Time{},"",now); fmt.Println("one more v4",time.Since(x))
  x=time.Now(); t.Unban(netip.MustParsePrefix("192.0.2.1/32")); fmt.Println("unban v4",time.Since(x))
  stranger:=netip.MustParseAddrPort("[2001:db9::1]:777"); 
  tb:=testing.Benchmark(func(b *testing.B){for b.Loop(){ t.mu.Lock(); t.bans.covering(stranger.Addr(),5); t.mu.Unlock()}})
  fmt.Println("covering",tb)
  banned:=netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x30,0,0,1,2,3,4,5,6,7,8,9,10,11,12,13}),5)
  tb=testing.Benchmark(func(b *testing.B){for b.Loop(){ t.Hear(banned,now,JoinOpen)}}); fmt.Println("Hear banned",tb)
  if n>0 {k:=netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20,1,0xd,0xb8,0,0,0,1}),4000); tb=testing.Benchmark(func(b *testing.B){for b.Loop(){ t.Hear(k,now,JoinOpen)}}); fmt.Println("Hear known",tb)}
 }}
