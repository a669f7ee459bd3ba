import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Interfaces, generics, collections, streams and strings, as business software is made of them. */
public class Shapes {
	interface Shape {
		double area();

		default String kind() {
			return getClass().getSimpleName().toLowerCase();
		}
	}

	record Circle(double radius) implements Shape {
		public double area() {
			return 3 * radius * radius;
		}
	}

	record Rectangle(double width, double height) implements Shape {
		public double area() {
			return width * height;
		}
	}

	record Group(List<Shape> members) implements Shape {
		public double area() {
			return members.stream().mapToDouble(Shape::area).sum();
		}
	}

	enum Size {
		SMALL(100), MEDIUM(1000), LARGE(Double.MAX_VALUE);

		private final double limit;

		Size(double limit) {
			this.limit = limit;
		}

		static Size of(Shape shape) {
			for (Size size : values())
				if (shape.area() < size.limit)
					return size;
			throw new IllegalStateException();
		}
	}

	static class Cache<K, V> {
		private final Map<K, V> known = new HashMap<>();
		private int misses;

		V get(K key, Function<K, V> make) {
			return known.computeIfAbsent(key, k -> {
				misses++;
				return make.apply(k);
			});
		}
	}

	private long state;

	Shapes(long seed) {
		state = seed;
	}

	int next(int limit) {
		state = state * 6364136223846793005L + 1442695040888963407L;
		return (int) ((state >>> 33) % limit);
	}

	Shape make(int depth) {
		return switch (depth > 3 ? next(2) : next(3)) {
			case 0 -> new Circle(next(30));
			case 1 -> new Rectangle(next(40), next(40));
			default -> new Group(IntStream.range(0, 1 + next(4)).mapToObj(i -> make(depth + 1)).toList());
		};
	}

	static String describe(List<Shape> shapes) {
		Map<Size, Map<String, Long>> table = shapes.stream().collect(Collectors.groupingBy(Size::of, TreeMap::new,
				Collectors.groupingBy(Shape::kind, TreeMap::new, Collectors.counting())));
		return table.toString();
	}

	public static void main(String[] arguments) {
		int rounds = Integer.parseInt(arguments[0]);
		Cache<Integer, Shape> cache = new Cache<>();
		StringBuilder report = new StringBuilder();
		for (int round = 0; round < rounds; round++) {
			Shapes source = new Shapes(round);
			List<Shape> shapes = new ArrayList<>();
			for (int i = 0; i < 3000; i++)
				shapes.add(i % 3 == 0 ? cache.get(source.next(500), source::make) : source.make(0));
			shapes.sort(Comparator.comparingDouble(Shape::area).thenComparing(Shape::kind));
			report.append(round).append(' ').append(describe(shapes)).append('\n');
		}
		System.out.print(report);
		System.out.println(report.length() + " " + cache.misses + " " + report.toString().hashCode());
	}
}
