# Counts, ranks and rewrites the words of a text.
use strict;
use warnings;

open my $file, '<', $ARGV[0] or die "$ARGV[0]: $!";
my (%count, %pairs, $last);
my ($numbers, $calls) = (0, 0);
while (my $line = <$file>) {
	last if $. > 30000;
	$numbers += $1 while $line =~ /\b([0-9]{1,6})\b/g;
	$calls++ if $line =~ /\b(\w+)\s*\(([^()]*)\)/;
	for my $word (split /\W+/, $line) {
		next unless length $word > 1;
		$count{lc $word}++;
		$pairs{"$last $word"}++ if defined $last;
		$last = $word;
	}
	(my $turned = $line) =~ s/(\w+)-(\w+)/$2-$1/g;
	$numbers += length $turned;
}
print scalar(keys %count), ' ', scalar(keys %pairs), " $numbers $calls\n";
my @ranked = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$_ $count{$_}\n" for @ranked[0 .. 99];
print join(',', map { sprintf '%s=%d', $_, $pairs{$_} } (sort { $pairs{$b} <=> $pairs{$a} || $a cmp $b } keys %pairs)[0 .. 49]), "\n";
