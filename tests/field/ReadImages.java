import ij.ImagePlus;
import ij.ImageStack;
import ij.io.Opener;
import ij.process.ImageProcessor;
import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.FileOutputStream;

/** Opens images as ImageJ does, without a display: prints what it finds, and writes the pixels as floats. */
public class ReadImages {
    public static void main(String[] paths) throws Exception {
        for (String path : paths) {
            ImagePlus image = new Opener().openImage(path);
            System.out.printf(
                "%s\t%d\t%d\t%d\t%s\t%s%n",
                path, image.getNChannels(), image.getNSlices(), image.getNFrames(),
                image.getCalibration().pixelWidth, image.getCalibration().getUnit());
            try (DataOutputStream output =
                    new DataOutputStream(new BufferedOutputStream(new FileOutputStream(path + ".floats")))) {
                ImageStack stack = image.getStack();
                for (int plane = 1; plane <= stack.getSize(); plane++) {
                    ImageProcessor pixels = stack.getProcessor(plane);
                    for (int i = 0; i < pixels.getPixelCount(); i++) {
                        output.writeFloat(pixels.getf(i));
                    }
                }
            }
        }
        System.exit(0);
    }
}
